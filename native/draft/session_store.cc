#include "draft/session_store.h"

#include <algorithm>
#include <fstream>
#include <unordered_map>
#include <utility>

#include "draft/store_file.h"
#include "tensor/check.h"

namespace agentinfer {

namespace {
constexpr size_t kEntryBytes = 512;  // maps' nodes and the structs, roughly
}

struct SessionStore::Entry {
  Tenant* tenant = nullptr;
  uint32_t number = 0;  // in the tenant's index
  StoredSession session;
  std::shared_ptr<TextSource> source;  // null: not built
  uint64_t use = 0;
  size_t bytes = 0, automaton_bytes = 0;
};

struct SessionStore::Tenant {
  std::string name;
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> sessions;
  std::unordered_map<uint32_t, Entry*> by_number;
  QueryIndex index;
};

SessionStore::SessionStore(StoreOptions options) : options_(options) {}
SessionStore::~SessionStore() = default;

SessionStore::Entry& SessionStore::entry(std::string_view tenant, std::string_view session) {
  if (session.empty())
    fail(ErrorCode::kInvalidArgument, "session store: expected a session id, got an empty one");
  Tenant& owner = tenants_.try_emplace(std::string(tenant)).first->second;
  owner.name = tenant;
  std::unique_ptr<Entry>& place = owner.sessions[std::string(session)];
  if (place) return *place;
  place = std::make_unique<Entry>();
  place->tenant = &owner;
  place->number = next_number_++;
  place->session.id = session;
  owner.by_number.emplace(place->number, place.get());
  ++stats_.sessions;
  touch(*place);
  account(*place);
  return *place;
}

SessionStore::Entry* SessionStore::find(std::string_view tenant, std::string_view session) {
  const auto owner = tenants_.find(tenant);
  if (owner == tenants_.end()) return nullptr;
  const auto found = owner->second.sessions.find(session);
  return found == owner->second.sessions.end() ? nullptr : found->second.get();
}

void SessionStore::touch(Entry& entry) {
  if (entry.use != 0) by_use_.erase(entry.use);
  entry.use = ++clock_;
  by_use_.emplace(entry.use, &entry);
}

// Brings the byte counts up to date with the entry.
void SessionStore::account(Entry& entry) {
  stats_.bytes -= entry.bytes;
  stats_.automata -= entry.automaton_bytes > 0;
  entry.automaton_bytes = entry.source ? entry.source->bytes() : 0;
  const StoredSession& session = entry.session;
  entry.bytes = kEntryBytes + session.id.size() + session.query.size() +
                session.vector.size() * sizeof(float) + session.tokens.size() * sizeof(int32_t) +
                entry.tenant->index.bytes(entry.number) + entry.automaton_bytes;
  stats_.automata += entry.automaton_bytes > 0;
  stats_.bytes += entry.bytes;
}

void SessionStore::put(std::string_view tenant, std::string_view session, std::string_view query,
                       std::span<const float> vector) {
  const auto owner = tenants_.find(tenant);
  (owner == tenants_.end() ? QueryIndex() : owner->second.index).require_fits(vector);
  Entry& at = entry(tenant, session);
  if (at.session.query == query && std::ranges::equal(at.session.vector, vector) && !query.empty()) {
    touch(at);
    return;
  }
  at.tenant->index.put(at.number, query, vector);
  at.session.query = query;
  at.session.vector.assign(vector.begin(), vector.end());
  touch(at);
  account(at);
  make_room(&at);
}

void SessionStore::append(std::string_view tenant, std::string_view session,
                          std::span<const int32_t> tokens) {
  Entry& at = entry(tenant, session);
  std::vector<int32_t>& kept = at.session.tokens;
  if (!kept.empty()) kept.push_back(SuffixAutomaton::kBorder);
  kept.insert(kept.end(), tokens.begin(), tokens.end());
  if (kept.size() > options_.max_session_tokens) {
    kept.erase(kept.begin(), kept.end() - static_cast<ptrdiff_t>(options_.max_session_tokens));
    at.source.reset();
  } else if (at.source) {
    at.source->append_documents(tokens);
  }
  touch(at);
  account(at);
  make_room(&at);
}

void SessionStore::erase(Entry& entry) {
  Tenant& tenant = *entry.tenant;
  stats_.bytes -= entry.bytes;
  stats_.automata -= entry.automaton_bytes > 0;
  --stats_.sessions;
  by_use_.erase(entry.use);
  tenant.by_number.erase(entry.number);
  tenant.index.remove(entry.number);
  tenant.sessions.erase(tenant.sessions.find(entry.session.id));
  if (tenant.sessions.empty()) tenants_.erase(tenants_.find(tenant.name));
}

size_t SessionStore::tenants() const {
  return tenants_.size();
}

// Automata first, they can be built again; then sessions. Least recently used first, `keep` never.
void SessionStore::make_room(const Entry* keep) {
  for (auto at = by_use_.begin(); stats_.bytes > options_.byte_budget && at != by_use_.end(); ++at) {
    if (!at->second->source || at->second == keep) continue;
    at->second->source.reset();
    account(*at->second);
    ++stats_.evicted_automata;
  }
  for (auto at = by_use_.begin(); stats_.bytes > options_.byte_budget && at != by_use_.end();) {
    Entry* entry = (at++)->second;
    if (entry == keep) continue;
    erase(*entry);
    ++stats_.evicted_sessions;
  }
}

std::vector<SessionStore::Match> SessionStore::search(std::string_view tenant, std::string_view query,
                                                      std::span<const float> vector, size_t count,
                                                      std::string_view except) const {
  std::vector<Match> matches;
  const auto owner = tenants_.find(tenant);
  if (owner == tenants_.end()) return matches;
  for (const QueryIndex::Hit& hit :
       owner->second.index.search(query, vector, count + 1, options_.min_similarity)) {
    const Entry& entry = *owner->second.by_number.at(hit.id);
    if (entry.session.id == except || entry.session.tokens.empty() || matches.size() == count) continue;
    matches.push_back({entry.session.id, hit.similarity});
  }
  return matches;
}

std::shared_ptr<const TextSource> SessionStore::source(std::string_view tenant, std::string_view session) {
  Entry* at = find(tenant, session);
  if (!at || at->session.tokens.empty()) return nullptr;
  if (!at->source || at->source->failed()) {
    const auto built = std::make_shared<TextSource>(nullptr);
    built->append_documents(at->session.tokens);
    built->settle();
    at->source = built;
  }
  touch(*at);
  account(*at);
  const std::shared_ptr<const TextSource> result = at->source;
  make_room(at);
  return result;
}

void SessionStore::save(std::string_view tenant, const std::filesystem::path& path) const {
  std::vector<const StoredSession*> sessions;
  const auto owner = tenants_.find(tenant);
  for (const auto& [use, entry] : by_use_)  // least recent first, so that loading restores the order
    if (owner != tenants_.end() && entry->tenant == &owner->second) sessions.push_back(&entry->session);
  write_file_atomically(path, encode_sessions(sessions, tenant, options_.fingerprint));
}

SessionStore::Loaded SessionStore::load(std::string_view tenant, const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) return {0, path.string() + ": cannot be read"};
  std::vector<std::byte> bytes(size);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (static_cast<uintmax_t>(in.gcount()) != size) return {0, path.string() + ": cannot be read to its end"};

  DecodedSessions decoded = decode_sessions(bytes, tenant, options_.fingerprint);
  if (decoded.refused.empty()) decoded.refused = unfit(tenant, decoded.sessions);
  if (!decoded.refused.empty()) return {0, path.string() + ": " + decoded.refused};
  Loaded loaded;
  for (StoredSession& session : decoded.sessions) {
    if (find(tenant, session.id)) continue;
    insert(tenant, std::move(session));
    ++loaded.sessions;
  }
  return loaded;
}

// Why the sessions of a sound file cannot join those here; empty: they can.
std::string SessionStore::unfit(std::string_view tenant, std::span<const StoredSession> sessions) const {
  const auto owner = tenants_.find(tenant);
  const size_t dimensions = owner == tenants_.end() ? 0 : owner->second.index.dimensions();
  for (const StoredSession& session : sessions)
    if (dimensions != 0 && !session.vector.empty() && session.vector.size() != dimensions)
      return "query vectors of another size than those in use";
  return {};
}

void SessionStore::insert(std::string_view tenant, StoredSession session) {
  Entry& at = entry(tenant, session.id);
  at.tenant->index.put(at.number, session.query, session.vector);
  at.session = std::move(session);
  if (at.session.tokens.size() > options_.max_session_tokens)
    at.session.tokens.erase(at.session.tokens.begin(),
                            at.session.tokens.end() - static_cast<ptrdiff_t>(options_.max_session_tokens));
  account(at);
  make_room(&at);
}

void SessionStore::check() const {
  size_t bytes = 0, sessions = 0, automata = 0;
  for (const auto& [name, tenant] : tenants_) {
    ensure(tenant.sessions.size() == tenant.by_number.size(), "session store: tenant ", name,
           " lost a session");
    for (const auto& [id, entry] : tenant.sessions) {
      ensure(entry->session.id == id && by_use_.at(entry->use) == entry.get(), "session store: session ", id);
      ensure(!entry->source || entry->source->bytes() == entry->automaton_bytes,
             "session store: automaton of ", id);
      bytes += entry->bytes;
      automata += entry->source != nullptr;
      ++sessions;
    }
  }
  ensure(by_use_.size() == sessions && stats_.sessions == sessions, "session store: counts ", stats_.sessions,
         " sessions, has ", sessions);
  ensure(stats_.bytes == bytes && stats_.automata == automata, "session store: counts ", stats_.bytes,
         " bytes, has ", bytes);
}

}  // namespace agentinfer
