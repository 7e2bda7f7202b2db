#include "engine/speculator.h"

#include <algorithm>
#include <cstdio>
#include <system_error>
#include <utility>

#include "draft/store_file.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr size_t kMostNotices = 16;  // of one step

bool ready(const auto& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

bool decodes(const BatchEntry& entry) {
  return entry.known_rows == 1 && entry.wants_logits;
}

void require_directory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    fail(ErrorCode::kIo, "speculation memory: cannot make ", directory.string(), ": ", error.message());
  const std::filesystem::path probe = directory / ".writable";
  write_file_atomically(probe, {});  // throws kIo
  std::filesystem::remove(probe, error);
}

}  // namespace

Speculator::Speculator(SpeculatorOptions options, StepCost cost, int max_sequences)
    : options_(std::move(options)),
      memory_(options_.memory),
      drafter_(options_.drafter, std::move(cost)),
      drafts_(static_cast<size_t>(max_sequences)),
      saved_at_(Clock::now()) {
  offered_.reserve(drafts_.size());
  lengths_.reserve(drafts_.size());
  if (!options_.directory.empty()) require_directory(options_.directory);
}

Speculator::~Speculator() {
  if (options_.directory.empty()) return;
  try {
    save_all();
    for (std::future<void>& save : saves_) save.get();
  } catch (...) {
    // Nobody is left to tell. The file that was there is whole: it is replaced at once or not at all.
  }
}

// Tenants' names are not for file systems.
std::filesystem::path Speculator::file_of(const std::filesystem::path& directory, const std::string& tenant) {
  uint64_t hash = 14695981039346656037u;
  for (const char byte : tenant) hash = (hash ^ static_cast<uint8_t>(byte)) * 1099511628211u;
  char name[40];
  std::snprintf(name, sizeof name, "tenant-%016llx.sam", static_cast<unsigned long long>(hash));
  return directory / name;
}

void Speculator::notice(const std::string& text) {
  if (notices_.size() < kMostNotices) notices_.push_back(text);
}

void Speculator::load(const std::string& tenant) {
  if (options_.directory.empty() || tenants_.contains(tenant)) return;
  tenants_[tenant] = false;
  loads_.push_back(memory_.load(tenant, file_of(options_.directory, tenant)));
}

// Tenants that did nothing since the last time are left out from here on. Their files are read again when
// they come again: what the memory still has of them stays as it is.
void Speculator::save_all() {
  saved_at_ = Clock::now();
  std::erase_if(tenants_, [](const auto& tenant) { return !tenant.second; });
  for (auto& [tenant, changed] : tenants_) {
    changed = false;
    saves_.push_back(memory_.save(tenant, file_of(options_.directory, tenant)));
  }
}

void Speculator::begin(Sequence& sequence) {
  if (!sequence.speculation.enabled) return;
  SequenceOrigin origin = sequence.speculation.origin;
  if (sequence.owner >= 0 && sequence.speculation.session) {
    origin.session = options_.engine_name + ":" + std::to_string(sequence.owner);
    session_tenants_[sequence.owner] = origin.tenant;
  }
  try {
    load(origin.tenant);
    sequence.drafting = memory_.open(std::move(origin), sequence.tokens);
  } catch (const std::exception& error) {
    notice(error.what());  // it runs without drafts
  }
}

// Beside a prefill, drafts must pay as they would without it: its rows make theirs dearer, but the time it
// takes itself is left out. Else it would be an excuse for drafts that delay its first token.
StepLoad Speculator::load_of(std::span<const BatchEntry> entries, int room) const {
  const StepCost& cost = drafter_.cost();
  StepLoad load{.room = room};
  int decoding = 0;
  for (const BatchEntry& entry : entries) {
    load.tokens += entry.known_rows;
    if (!decodes(entry)) continue;
    ++decoding;
    const auto kv = static_cast<double>(entry.begin + entry.known_rows);
    load.fixed_seconds += kv * (cost.context().per_sequence + cost.context().per_row);
  }
  load.yield = decoding;
  if (decoding > 0) load.fixed_seconds -= cost.at(load.tokens) - cost.at(decoding);
  return load;
}

void Speculator::choose(std::span<const BatchEntry> entries, int room,
                        std::span<std::span<const int32_t>> out) {
  offered_.assign(entries.size(), nullptr);
  bool any = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    Sequence& sequence = *entries[i].sequence;
    if (!sequence.drafting || entries[i].draft_limit == 0 || entries[i].supplied || !decodes(entries[i]))
      continue;
    if (!sequence.drafting->sources.due()) continue;
    memory_.refresh(*sequence.drafting);
    drafter_.propose(sequence.drafting->sources, entries[i].draft_limit, drafts_[i]);
    if (drafts_[i].length == 0) continue;
    drafts_[i].row_seconds = drafter_.cost().context().per_row * static_cast<double>(sequence.known());
    offered_[i] = &drafts_[i];
    any = true;
  }
  load_ = load_of(entries, room);
  if (!any) return;
  lengths_.assign(entries.size(), 0);
  drafter_.admit(offered_, load_, lengths_);
  for (size_t i = 0; i < entries.size(); ++i)
    if (offered_[i]) out[i] = std::span(drafts_[i].tokens).first(static_cast<size_t>(lengths_[i]));
}

void Speculator::learn(std::span<const BatchEntry> entries, double seconds, StepResult& result) {
  Drafter::Step step{
      .rows = load_.tokens,
      .seconds = options_.refine_cost && std::all_of(entries.begin(), entries.end(), decodes) ? seconds : 0};
  int drafted = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    drafted += entries[i].drafts;
    step.accepted += entries[i].accepted;
    if (offered_[i] && entries[i].drafts > 0)
      step.draft_context += drafts_[i].row_seconds * entries[i].drafts;
  }
  step.rows += drafted;
  const StepCost& cost = drafter_.cost();
  const double per_token = load_.yield > 0 ? (load_.fixed_seconds + cost.at(load_.tokens)) / load_.yield : 0;
  const double extra = step.draft_context + cost.at(step.rows) - cost.at(load_.tokens);
  for (size_t i = 0; i < entries.size(); ++i) {
    const BatchEntry& entry = entries[i];
    Sequence& sequence = *entry.sequence;
    if (offered_[i] && entry.drafts > 0) record(entry, drafts_[i], per_token, extra / drafted, result);
    if (!sequence.drafting || entry.emitted == 0) continue;
    try {
      drafter_.commit(sequence.drafting->sources,
                      std::span(sequence.tokens).last(static_cast<size_t>(entry.emitted)));
    } catch (const std::exception& error) {
      notice(error.what());
      sequence.drafting = nullptr;  // its text is incomplete now: no more drafts
    }
  }
  drafter_.finish_step(load_, step);
}

void Speculator::record(const BatchEntry& entry, const Draft& draft, double seconds_per_token,
                        double seconds_per_row, StepResult& result) {
  drafter_.count(draft, entry.drafts, entry.accepted);
  const double saved = entry.accepted * seconds_per_token - entry.drafts * seconds_per_row;
  result.drafts.insert(result.drafts.end(),
                       {entry.sequence->id, static_cast<int32_t>(draft.kind), entry.drafts, entry.accepted,
                        static_cast<int32_t>(std::clamp(saved * 1e6, -2e9, 2e9))});
}

void Speculator::end(Sequence& sequence) {
  if (!sequence.drafting) return;
  try {
    memory_.close(std::move(sequence.drafting));
  } catch (const Error& error) {
    notice(error.what());
  }
  if (options_.directory.empty()) return;
  tenants_[sequence.speculation.origin.tenant] = true;
  if (Clock::now() - saved_at_ >= options_.save_every) save_all();
}

void Speculator::forget_session(int64_t session) {
  const auto found = session_tenants_.find(session);
  if (found == session_tenants_.end()) return;
  memory_.end_session(found->second, options_.engine_name + ":" + std::to_string(session));
  session_tenants_.erase(found);
}

void Speculator::report(StepResult& result) {
  std::erase_if(loads_, [&](std::future<SessionStore::Loaded>& load) {
    if (!ready(load)) return false;
    try {
      if (const std::string refused = load.get().refused; !refused.empty())
        notice("a file of stored sessions was refused: " + refused);
    } catch (const std::exception& error) {
      notice(std::string("stored sessions could not be read: ") + error.what());
    }
    return true;
  });
  std::erase_if(saves_, [&](std::future<void>& save) {
    if (!ready(save)) return false;
    try {
      save.get();
    } catch (const std::exception& error) {
      notice(std::string("sessions could not be stored: ") + error.what());
    }
    return true;
  });
  const DraftMemory::Stats stats = memory_.stats();
  if (stats.failures != std::exchange(failures_seen_, stats.failures)) notice(stats.last_failure);
  const auto number = [](auto value) { return static_cast<double>(value); };
  result.draft_memory = {number(stats.open),
                         number(stats.sessions),
                         number(stats.roles),
                         number(stats.store.sessions),
                         number(stats.store.automata),
                         number(stats.store.bytes),
                         number(stats.store.evicted_sessions),
                         number(stats.failures)};
  result.notices = std::exchange(notices_, {});
}

}  // namespace agentinfer
