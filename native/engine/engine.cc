#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "engine/outcome.h"
#include "tensor/current_error.h"

namespace agentinfer {
namespace {

double milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

PrefixIndexOptions index_options(const ForwardPass& decoder) {
  PrefixIndexOptions options;
  options.host_blocks = decoder.options().host_blocks;
  return options;
}

}  // namespace

Engine::Engine(ForwardPass& decoder, int vocabulary, std::unique_ptr<Speculation> speculation)
    : decoder_(decoder),
      vocabulary_(vocabulary),
      max_context_(std::min<int64_t>(decoder.options().shape.max_context,
                                     int64_t{decoder.options().blocks} * decoder.options().block_size)),
      speculation_(std::move(speculation)),
      pool_(decoder.options().blocks, decoder.options().block_size),
      index_(pool_, index_options(decoder)),
      batch_(decoder.options().shape, kMaxDraftTokens),
      verifier_(vocabulary, decoder.options().shape.max_logit_rows, max_context_) {
  drafts_.reserve(static_cast<size_t>(decoder.options().shape.max_sequences));
}

Engine::~Engine() {
  for (const auto& [id, sequence] : sequences_) end_drafting(*sequence);
}

void Engine::add(SequenceSpec spec) {
  if (spec.tokens.empty()) fail(ErrorCode::kInvalidArgument, "a prompt needs at least one token, got none");
  if (static_cast<int64_t>(spec.tokens.size()) >= max_context_)
    fail(ErrorCode::kInvalidArgument, "a prompt of ", spec.tokens.size(),
         " tokens leaves no room in a context of ", max_context_);
  for (int32_t token : spec.tokens)
    if (token < 0 || token >= vocabulary_)
      fail(ErrorCode::kInvalidArgument, "token ", token, " is outside the vocabulary [0, ", vocabulary_, ")");
  if (spec.max_tokens < 1)
    fail(ErrorCode::kInvalidArgument, "max_tokens must be at least 1, got ", spec.max_tokens);
  validate(spec.sampling, vocabulary_);
  const int32_t id = spec.id;
  if (sequences_.contains(id)) fail(ErrorCode::kInvalidArgument, "sequence id ", id, " is in use");
  sequences_.emplace(id, std::make_unique<Sequence>(std::move(spec), pool_.block_size()));
}

void Engine::remove(int32_t id) {
  Sequence* sequence = find(id);
  if (sequence == nullptr) return;
  release(*sequence);
  end_drafting(*sequence);
  sequences_.erase(id);
}

void Engine::forget_session(int64_t session) {
  index_.forget(session);
  if (speculation_) speculation_->forget_session(session);
}

Sequence* Engine::find(int32_t id) {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

// Gives all blocks back; what is computed stays cached under the sequence's owner, or is lost where there is
// no memory to note it.
void Engine::release(Sequence& sequence) {
  try {
    if (sequence.started) index_.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
  } catch (const std::bad_alloc&) {
    index_.release_table(sequence.table);
  }
  sequence.cursor = ChainCursor(sequence.salt);
  sequence.started = false;
  sequence.probed = {};
}

void Engine::end_drafting(Sequence& sequence) {
  try {
    if (speculation_) speculation_->end(sequence);
  } catch (const std::bad_alloc&) {  // what it wrote is not drafted from
  }
}

StepResult Engine::step(const StepPlan& plan) {
  StepResult result;
  const auto start = Clock::now();
  batch_.clear();
  ++step_;
  apply(plan);
  reserve(plan, result);
  result.phases[0] = milliseconds(Clock::now() - start);
  if (!batch_.empty()) {
    try {
      draft(plan, result);
      forward(result);
      learn(result);
      commit(result);
    } catch (...) {
      fail_batch(current_error(), result);
    }
  }
  try {
    prefetch(plan);
    probe(plan, result);
  } catch (const std::exception&) {  // what was done must be told; looking can wait
    result.probes.clear();
    for (int32_t id : plan.probe)
      if (Sequence* sequence = find(id)) sequence->probed = {};
  }
  report_pool(result);
  if (speculation_) speculation_->report(result);
  result.unhealthy = unhealthy_;
  result.phases[5] = milliseconds(Clock::now() - start);
  return result;
}

void Engine::apply(const StepPlan& plan) {
  for (int32_t id : plan.preempt)
    if (Sequence* sequence = find(id)) release(*sequence);
  try {
    for (size_t i = 0; i + kPlanRetain.size() <= plan.retain.size(); i += kPlanRetain.size())
      index_.retain(
          static_cast<OwnerId>(plan.retain[i]),
          {.retention_class = static_cast<uint8_t>(plan.retain[i + 1]), .expiry = plan.retain[i + 2]});
  } catch (const std::bad_alloc&) {  // retention is a wish
  }
}

// Drafts come last and take only what is left: rows of the batch, and blocks.
void Engine::draft(const StepPlan& plan, StepResult& result) {
  if (!speculation_ && plan.drafts.empty()) return;
  const auto start = Clock::now();
  const auto entries = batch_.entries();
  drafts_.assign(entries.size(), {});
  try {
    take_supplied(plan, entries);
    if (speculation_) speculation_->choose(entries, batch_.room(), drafts_);
    for (size_t i = 0; i < entries.size(); ++i)
      if (!drafts_[i].empty()) batch_.set_drafts(entries[i], make_room(entries[i], drafts_[i], plan.now));
  } catch (const std::bad_alloc&) {  // the step goes without the rest
  }
  run_moves();
  result.phases[1] = milliseconds(Clock::now() - start);
}

void Engine::forward(StepResult& result) {
  const auto start = Clock::now();
  auto sampling = Clock::duration::zero();
  decoder_.forward(batch_.inputs(), [&](int first, int count, const Activation& logits) {
    const auto begin = Clock::now();
    verifier_.take(decoder_.backend(), batch_, first, count, logits, result);
    sampling += Clock::now() - begin;
  });
  result.phases[2] = milliseconds(Clock::now() - start - sampling);
  result.phases[3] = milliseconds(sampling);
}

void Engine::learn(StepResult& result) {
  for (const BatchEntry& entry : batch_.entries())
    if (entry.supplied && entry.drafts > 0)
      result.drafts.insert(result.drafts.end(),
                           {entry.sequence->id, kSuppliedDraft, entry.drafts, entry.accepted, 0});
  if (!speculation_) return;
  const auto start = Clock::now();
  try {
    speculation_->learn(batch_.entries(), (result.phases[2] + result.phases[3]) / 1000, result);
  } catch (const std::bad_alloc&) {  // nothing depends on it
  }
  result.phases[1] += milliseconds(Clock::now() - start);
}

void Engine::commit(StepResult& result) {
  const auto start = Clock::now();
  verifier_.finish(result);
  for (BatchEntry& entry : batch_.entries()) commit_entry(entry, result);
  result.phases[4] = milliseconds(Clock::now() - start);
}

void Engine::commit_entry(BatchEntry& entry, StepResult& result) {
  Sequence& sequence = *entry.sequence;
  sequence.table.set_computed(entry.begin + entry.known_rows + entry.accepted);
  // Nothing below throws: others of the batch are committed already.
  field(result, entry.outcome, OutcomeField::kComputed) = static_cast<int32_t>(sequence.computed());
  field(result, entry.outcome, OutcomeField::kEmitted) = entry.emitted;
  field(result, entry.outcome, OutcomeField::kFinish) = static_cast<int32_t>(entry.finish);
  field(result, entry.outcome, OutcomeField::kDrafted) = entry.drafts;
  field(result, entry.outcome, OutcomeField::kAccepted) = entry.accepted;
  field(result, entry.outcome, OutcomeField::kError) = entry.error;
  if (entry.error >= 0) {
    field(result, entry.outcome, OutcomeField::kKind) = static_cast<int32_t>(OutcomeKind::kFailed);
    if (entry.suspect) {
      index_.distrust(sequence.table);
    } else {
      index_.release_table(sequence.table);
    }
    sequences_.erase(sequence.id);
  } else if (entry.finish != FinishReason::kNone) {
    release(sequence);
    end_drafting(sequence);
    sequences_.erase(sequence.id);
  } else {
    try {
      index_.publish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
    } catch (const std::bad_alloc&) {  // it is shared by a later step
    }
  }
}

// The forward pass failed: which rows were written is unknown, so the sequences of the step end and share
// nothing of it.
void Engine::fail_batch(const Error& error, StepResult& result) {
  verifier_.discard();
  result.tokens.clear();
  result.logprobs.clear();
  result.top_counts.clear();
  result.top_ids.clear();
  result.top_logprobs.clear();
  const int index = add_error(error, result);
  for (BatchEntry& entry : batch_.entries()) fail_sequence(*entry.sequence, entry.outcome, index, result);
}

void Engine::fail_sequence(Sequence& sequence, int outcome, int error, StepResult& result) {
  field(result, outcome, OutcomeField::kKind) = static_cast<int32_t>(OutcomeKind::kFailed);
  field(result, outcome, OutcomeField::kError) = error;
  field(result, outcome, OutcomeField::kEmitted) = 0;
  index_.release_table(sequence.table);
  sequences_.erase(sequence.id);
}

// Its index; -1 where there is no memory for it.
int Engine::add_error(const Error& error, StepResult& result) {
  try {
    if (error.code() == ErrorCode::kDevice && unhealthy_.empty()) unhealthy_ = error.what();
    result.errors.push_back({std::string(error_code_name(error.code())), error.what()});
    return static_cast<int>(result.errors.size()) - 1;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}

void Engine::probe(const StepPlan& plan, StepResult& result) {
  listed_.clear();
  for (int32_t id : plan.probe) {
    Sequence* sequence = find(id);
    if (sequence == nullptr || sequence->started) continue;
    const auto tokens = std::span(sequence->tokens).first(sequence->tokens.size() - 1);
    index_.probe(tokens, sequence->cursor);
    const PrefixMatch& match = sequence->cursor.match();
    const int block = pool_.block_size();
    const int64_t blocks = (sequence->known() + block - 1) / block;
    // Requests that lack the same next block share a group: the first of them fills the cache for the others.
    const size_t from = static_cast<size_t>(match.blocks()) * static_cast<size_t>(block);
    uint32_t group = 2166136261u ^ static_cast<uint32_t>(from) ^ static_cast<uint32_t>(sequence->salt);
    for (size_t i = from; i < std::min(tokens.size(), from + static_cast<size_t>(block)); ++i)
      group = (group ^ static_cast<uint32_t>(tokens[i])) * 16777619u;
    const std::array<int32_t, kProbe.size()> report{id,
                                                    static_cast<int32_t>(match.tokens + match.partial_tokens),
                                                    match.pinned,
                                                    match.evictable,
                                                    match.host,
                                                    static_cast<int32_t>(blocks - match.device()),
                                                    static_cast<int32_t>(group)};
    if (std::exchange(sequence->probed, report) != report)
      result.probes.insert(result.probes.end(), report.begin(), report.end());
    listed_.push_back({.tokens = tokens, .cursor = &sequence->cursor});
  }
  if (!plan.demand) return;
  const UnionDemand demand = index_.demand(listed_);
  result.demand = {static_cast<int32_t>(demand.pinned), static_cast<int32_t>(demand.evictable),
                   static_cast<int32_t>(demand.host), static_cast<int32_t>(demand.fresh)};
}

void Engine::report_pool(StepResult& result) const {
  result.pool = {pool_.total(),
                 pool_.free_count(),
                 pool_.cached_count(),
                 pool_.used_count(),
                 index_.host().total(),
                 index_.host().free_count(),
                 static_cast<int32_t>(index_.stats().evicted)};
}

void Engine::check() const {
  index_.check();
  for (const auto& [id, sequence] : sequences_)
    ensure(sequence->started || sequence->table.blocks().empty(), "sequence ", id,
           " holds blocks before its start");
}

}  // namespace agentinfer
