#include "draft/draft_memory.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "draft/builder.h"
#include "draft/role_history.h"
#include "tensor/check.h"

namespace agentinfer {

namespace {

constexpr size_t kBytesPerToken = 80;  // of an automaton, about
constexpr size_t kSupersededShare =
    8;  // a session's text is begun anew when it holds this many times its context
constexpr size_t kSupersededLeast = 1 << 18;  // ... and at least so many tokens
constexpr size_t kMaxRoles = 256;
constexpr int kRetrievalTurns = 16;  // a session's turns that use what one retrieval found

using Key = std::pair<std::string, std::string>;  // tenant, name

// The texts of one run, oldest first. Lives as long as a session or an open set of the run.
struct Run {
  std::atomic<uint64_t> version{0};              // rises when a text is added
  std::vector<std::weak_ptr<TextSource>> texts;  // guarded by State::mutex
};

struct RoleText {
  std::shared_ptr<RoleHistory> history;
  uint64_t use = 0;
};

// Stored sessions found for one sequence, in the order they became ready.
struct Retrieval {
  struct Found {
    std::shared_ptr<const TextSource> text;
    double similarity;
  };
  std::atomic<size_t> ready{0};
  std::mutex mutex;
  std::vector<Found> found;  // guarded by mutex
};

struct SessionText {
  std::shared_ptr<TextSource> text;
  std::shared_ptr<Run> run;  // that it was last open in
  bool busy = false;         // an open set writes it
  uint64_t use = 0;
  // Null: none yet. What it was for, and the turns that used it.
  std::shared_ptr<Retrieval> retrieval;
  std::string query;
  std::vector<float> vector;
  int retrieval_turns = 0;
};

}  // namespace

struct DraftMemory::Set::Private {
  State* state;
  SequenceOrigin origin;
  std::shared_ptr<Run> run;              // null: none
  std::shared_ptr<Retrieval> retrieval;  // null: none
  std::shared_ptr<RoleHistory> role;     // null: none
  uint64_t run_seen = 0;
  size_t taken = 0;  // of retrieval->found
  int siblings = 0;
  bool owns_session = false;
  size_t prompt_size = 0;
  size_t stored = 0;  // tokens of the sequence that the store has already
};

DraftMemory::Set::Set(std::shared_ptr<TextSource> own, std::unique_ptr<Private> its)
    : sources(std::move(own)), private_(std::move(its)) {}

struct DraftMemory::State {
  explicit State(DraftMemoryOptions given) : options(std::move(given)), store(options.store) {}

  std::shared_ptr<TextSource> take_session(Set::Private& its, size_t prompt_size);
  void drop_idle_sessions();
  void join_run(Set::Private& its, const std::shared_ptr<TextSource>& own);
  void take_role(Set::Private& its);
  bool take_retrieval(Set::Private& its);
  void retrieve(const Set::Private& its);
  void build_retrieved(std::string tenant, SessionStore::Match match, std::shared_ptr<Retrieval> into);
  void release(const Set::Private& its, const TextSource* own);
  template <typename F>
  void post_to_store(F task);

  const DraftMemoryOptions options;
  std::mutex mutex;  // guards the maps and counts below
  std::map<Key, SessionText> sessions;
  std::map<Key, std::weak_ptr<Run>> runs;
  std::map<Key, RoleText> roles;
  SessionStore::Stats store_stats;
  uint64_t clock = 0;
  size_t open = 0;
  uint64_t retrievals = 0;

  SessionStore store;  // the builder's thread only
  Builder builder;     // last: its tasks use what is above
};

// Null: the caller makes a text of its own. Under `mutex`.
std::shared_ptr<TextSource> DraftMemory::State::take_session(Set::Private& its, size_t prompt_size) {
  SessionText& session = sessions[{its.origin.tenant, its.origin.session}];
  session.use = ++clock;
  if (session.busy) return nullptr;
  const size_t worth = std::max(kSupersededShare * prompt_size, kSupersededLeast);
  if (!session.text || session.text->failed() || session.text->appended() > worth)
    session.text = std::make_shared<TextSource>(&builder);
  session.busy = its.owns_session = true;
  std::shared_ptr<TextSource> text = session.text;
  drop_idle_sessions();
  return text;
}

void DraftMemory::State::drop_idle_sessions() {
  size_t bytes = 0;
  for (const auto& [key, session] : sessions) bytes += session.text->appended() * kBytesPerToken;
  while (bytes > options.session_bytes) {
    auto oldest = sessions.end();
    for (auto at = sessions.begin(); at != sessions.end(); ++at)
      if (!at->second.busy && (oldest == sessions.end() || at->second.use < oldest->second.use)) oldest = at;
    if (oldest == sessions.end()) return;
    bytes -= oldest->second.text->appended() * kBytesPerToken;
    sessions.erase(oldest);
  }
}

// Under `mutex`.
void DraftMemory::State::join_run(Set::Private& its, const std::shared_ptr<TextSource>& own) {
  std::weak_ptr<Run>& place = runs[{its.origin.tenant, its.origin.run}];
  its.run = place.lock();
  if (!its.run) place = its.run = std::make_shared<Run>();
  std::erase_if(its.run->texts, [](const std::weak_ptr<TextSource>& text) { return text.expired(); });
  const auto is_own = [&](const std::weak_ptr<TextSource>& text) { return text.lock() == own; };
  if (std::none_of(its.run->texts.begin(), its.run->texts.end(), is_own)) {
    its.run->texts.push_back(own);
    ++its.run->version;
  }
  if (its.owns_session) sessions[{its.origin.tenant, its.origin.session}].run = its.run;
  std::erase_if(runs, [](const auto& run) { return run.second.expired(); });
}

void DraftMemory::State::release(const Set::Private& its, const TextSource* own) {
  const std::lock_guard lock(mutex);
  --open;
  const auto session = sessions.find({its.origin.tenant, its.origin.session});
  if (its.owns_session && session != sessions.end() && session->second.text.get() == own)
    session->second.busy = false;
}

// Under `mutex`.
void DraftMemory::State::take_role(Set::Private& its) {
  RoleText& role = roles[{its.origin.tenant, its.origin.role}];
  if (!role.history) role.history = std::make_shared<RoleHistory>(options.role_tokens);
  role.use = ++clock;
  its.role = role.history;
  if (roles.size() <= kMaxRoles) return;
  roles.erase(std::min_element(roles.begin(), roles.end(),
                               [](const auto& a, const auto& b) { return a.second.use < b.second.use; }));
}

// True: it is new, and to be filled. Turns of a session share one: they have the same task. Under `mutex`.
bool DraftMemory::State::take_retrieval(Set::Private& its) {
  const SequenceOrigin& origin = its.origin;
  if (options.retrieved <= 0 || origin.query.empty()) return false;
  SessionText* session = its.owns_session ? &sessions[{origin.tenant, origin.session}] : nullptr;
  if (session && session->retrieval && session->retrieval_turns < kRetrievalTurns &&
      session->query == origin.query && session->vector == origin.vector) {
    ++session->retrieval_turns;
    its.retrieval = session->retrieval;
    return false;
  }
  its.retrieval = std::make_shared<Retrieval>();
  ++retrievals;
  if (!session) return true;
  session->retrieval = its.retrieval;
  session->query = origin.query;
  session->vector = origin.vector;
  session->retrieval_turns = 1;
  return true;
}

template <typename F>
void DraftMemory::State::post_to_store(F task) {
  builder.post([this, task = std::move(task)]() mutable {
    task();
    const std::lock_guard lock(mutex);
    store_stats = store.stats();
  });
}

// Each automaton is a task of its own, so that the prompts of other sequences are built in between.
void DraftMemory::State::retrieve(const Set::Private& its) {
  post_to_store([this, origin = its.origin, into = its.retrieval] {
    const auto matches = store.search(origin.tenant, origin.query, origin.vector,
                                      static_cast<size_t>(options.retrieved), origin.session);
    if (!origin.session.empty()) store.put(origin.tenant, origin.session, origin.query, origin.vector);
    for (const SessionStore::Match& match : matches) build_retrieved(origin.tenant, match, into);
  });
}

void DraftMemory::State::build_retrieved(std::string tenant, SessionStore::Match match,
                                         std::shared_ptr<Retrieval> into) {
  post_to_store([this, tenant = std::move(tenant), match = std::move(match), into = std::move(into)] {
    if (into.use_count() == 1) return;  // sequence and session have ended
    std::shared_ptr<const TextSource> text = store.source(tenant, match.id);
    if (!text) return;
    const std::lock_guard lock(into->mutex);
    into->found.push_back({std::move(text), match.similarity});
    into->ready.store(into->found.size(), std::memory_order_release);
  });
}

DraftMemory::DraftMemory(DraftMemoryOptions options) : state_(std::make_unique<State>(std::move(options))) {}
DraftMemory::~DraftMemory() = default;

DraftMemory::Set::~Set() {
  private_->state->release(*private_, sources.own().get());
}

std::unique_ptr<DraftMemory::Set> DraftMemory::open(SequenceOrigin origin, std::span<const int32_t> prompt) {
  for (const int32_t token : prompt)
    if (token < 0) fail(ErrorCode::kInvalidArgument, "draft memory: expected token ids >= 0, got ", token);
  auto its = std::make_unique<Set::Private>();
  its->state = state_.get();
  its->origin = std::move(origin);
  its->prompt_size = prompt.size();
  std::shared_ptr<TextSource> own, session;
  bool retrieve = false;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->options.session && !its->origin.session.empty()) {
      own = state_->take_session(*its, prompt.size());
      if (!own) session = state_->sessions[{its->origin.tenant, its->origin.session}].text;
    }
    if (!own) own = std::make_shared<TextSource>(&state_->builder);
    if (state_->options.session && !its->origin.run.empty()) state_->join_run(*its, own);
    if (state_->options.role && !its->origin.role.empty()) state_->take_role(*its);
    retrieve = state_->take_retrieval(*its);
    ++state_->open;
  }
  std::unique_ptr<Set> set(new Set(std::move(own), std::move(its)));
  Set::Private& mine = *set->private_;
  mine.stored = set->sources.start(prompt);
  if (session) set->sources.attach(SourceKind::kSibling, session, 1);
  if (mine.role) set->sources.attach(SourceKind::kRole, mine.role->text(), 1);
  if (retrieve) state_->retrieve(mine);
  refresh(*set);
  return set;
}

void DraftMemory::refresh(Set& set) {
  Set::Private& its = *set.private_;
  if (its.run && its.run->version.load(std::memory_order_acquire) != its.run_seen) {
    const std::lock_guard lock(state_->mutex);
    its.run_seen = its.run->version.load(std::memory_order_relaxed);
    for (auto at = its.run->texts.rbegin();
         at != its.run->texts.rend() && its.siblings < state_->options.siblings; ++at) {
      std::shared_ptr<TextSource> text = at->lock();
      if (text && set.sources.attach(SourceKind::kSibling, std::move(text), 1)) ++its.siblings;
    }
  }
  if (its.retrieval && its.retrieval->ready.load(std::memory_order_acquire) != its.taken) {
    const std::lock_guard lock(its.retrieval->mutex);
    for (; its.taken < its.retrieval->found.size(); ++its.taken) {
      const Retrieval::Found& found = its.retrieval->found[its.taken];
      set.sources.attach(SourceKind::kRetrieved, found.text, found.similarity);
    }
  }
}

void DraftMemory::close(std::unique_ptr<Set> set) {
  const Set::Private& its = *set->private_;
  set->sources.flush();
  const std::vector<int32_t>& sequence = set->sources.own()->sequence();
  const auto from = [&](size_t begin) {
    return std::vector<int32_t>(sequence.begin() + static_cast<ptrdiff_t>(std::min(begin, sequence.size())),
                                sequence.end());
  };
  if (its.role)
    state_->builder.post([history = its.role, tokens = from(its.prompt_size)] { history->append(tokens); });
  if (state_->options.retrieved > 0 && !its.origin.session.empty() && !its.origin.query.empty())
    state_->post_to_store([state = state_.get(), origin = its.origin, tokens = from(its.stored)] {
      state->store.put(origin.tenant, origin.session, origin.query,
                       origin.vector);  // it may have been evicted
      state->store.append(origin.tenant, origin.session, tokens);
    });
}

void DraftMemory::end_session(const std::string& tenant, const std::string& session) {
  const std::lock_guard lock(state_->mutex);
  state_->sessions.erase({tenant, session});
}

std::future<void> DraftMemory::save(std::string tenant, std::filesystem::path path) {
  auto done = std::make_shared<std::packaged_task<void()>>(
      [state = state_.get(), tenant = std::move(tenant), path = std::move(path)] {
        state->store.save(tenant, path);
      });
  std::future<void> result = done->get_future();
  state_->post_to_store([done] { (*done)(); });
  return result;
}

std::future<SessionStore::Loaded> DraftMemory::load(std::string tenant, std::filesystem::path path) {
  auto done = std::make_shared<std::packaged_task<SessionStore::Loaded()>>(
      [state = state_.get(), tenant = std::move(tenant), path = std::move(path)] {
        return state->store.load(tenant, path);
      });
  std::future<SessionStore::Loaded> result = done->get_future();
  state_->post_to_store([done] { (*done)(); });
  return result;
}

void DraftMemory::drain() {
  state_->builder.drain();  // a retrieval posts the building of what it found
  state_->builder.drain();
}

DraftMemory::Stats DraftMemory::stats() {
  const Builder::Failures failures = state_->builder.failures();
  const std::lock_guard lock(state_->mutex);
  return {state_->store_stats,  state_->open,       state_->sessions.size(),
          state_->roles.size(), state_->retrievals, failures.count,
          failures.last};
}

}  // namespace agentinfer
