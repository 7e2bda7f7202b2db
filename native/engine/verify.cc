#include "engine/verify.h"

#include <algorithm>
#include <limits>
#include <span>

#include "tensor/check.h"

namespace agentinfer {

Verifier::Verifier(int vocabulary, int max_logit_rows, int64_t max_context)
    : max_context_(max_context), sampler_(vocabulary), argmax_(static_cast<size_t>(max_logit_rows)) {}

namespace {

// Of a row, as far as they can decide.
std::span<const float> row_logits(Backend& backend, const Sequence& sequence, const Activation& logits,
                                  int row) {
  const int deciding = sequence.sampling.deciding_logits(sequence.outputs());
  return deciding > 0 ? backend.top_logits(logits, row, deciding) : backend.logits(logits, row);
}

}  // namespace

void Verifier::take(Backend& backend, Batch& batch, int first, int count, const Activation& logits,
                    StepResult& result) {
  const auto entries = batch.entries();
  const bool greedy = std::any_of(entries.begin(), entries.end(),
                                  [](const BatchEntry& entry) { return entry.sequence->wants_argmax(); });
  if (greedy) backend.argmax(logits, count, std::span(argmax_).first(static_cast<size_t>(count)));
  for (int row = first; row < first + count; ++row) {
    while (row >= entries[entry_].first_logit + entries[entry_].logit_rows()) ++entry_;
    BatchEntry& entry = entries[entry_];
    if (entry.done) continue;
    // What the backend throws is the step's failure, not the sequence's.
    const bool plain = entry.sequence->wants_argmax();
    const std::span<const float> values =
        plain ? std::span<const float>() : row_logits(backend, *entry.sequence, logits, row - first);
    const int32_t best = plain ? argmax_[static_cast<size_t>(row - first)] : -1;
    try {
      take_row(batch, entry, row - entry.first_logit, best, values);
    } catch (const Error& error) {
      entry.done = true;
      entry.error = static_cast<int>(result.errors.size());
      entry.suspect = error.code() == ErrorCode::kDevice;
      result.errors.push_back({std::string(error_code_name(error.code())), error.what()});
    }
  }
}

// `row` counts from the entry's first logit row; `best`: their argmax where that is all the sequence wants,
// else `logits`.
void Verifier::take_row(Batch& batch, BatchEntry& entry, int row, int32_t best,
                        std::span<const float> logits) {
  Sequence& sequence = *entry.sequence;
  SampleResult sampled;
  if (sequence.wants_argmax()) {
    sampled.token = best;
    if (sampled.token < 0)
      fail(ErrorCode::kDevice, "sequence ", sequence.id, ": no finite logit for position ", sequence.known());
    if (sequence.forced()) sampled.token = sequence.sampling.forced[static_cast<size_t>(sequence.outputs())];
  } else {
    sampled = sampler_.sample(logits, sequence.sampling, sequence.history, sequence.known());
  }
  record(sequence, sampled);
  ++entry.emitted;
  entry.finish = sequence.emit(sampled.token, max_context_);
  const bool drafted = row < entry.drafts && batch.drafts(entry)[static_cast<size_t>(row)] == sampled.token;
  if (drafted) ++entry.accepted;
  entry.done = !drafted || entry.finish != FinishReason::kNone;
}

void Verifier::record(const Sequence& sequence, const SampleResult& sampled) {
  Emitted emitted{.token = sampled.token,
                  .logprob = std::numeric_limits<float>::quiet_NaN(),
                  .top_begin = static_cast<int>(top_.size())};
  if (sequence.sampling.logprobs) {
    any_logprobs_ = true;
    emitted.logprob = sampled.logprob;
    top_.insert(top_.end(), sampled.top.begin(), sampled.top.end());
    top_.insert(top_.end(), sampled.chosen.begin(), sampled.chosen.end());
    emitted.top_count = static_cast<int>(top_.size()) - emitted.top_begin;
  }
  emitted_.push_back(emitted);
}

void Verifier::finish(StepResult& result) {
  for (const Emitted& emitted : emitted_) {
    result.tokens.push_back(emitted.token);
    if (!any_logprobs_) continue;
    result.logprobs.push_back(emitted.logprob);
    result.top_counts.push_back(emitted.top_count);
  }
  for (const TokenLogprob& top : top_) {
    result.top_ids.push_back(top.token);
    result.top_logprobs.push_back(top.logprob);
  }
  discard();
}

void Verifier::discard() {
  emitted_.clear();
  top_.clear();
  entry_ = 0;
  any_logprobs_ = false;
}

}  // namespace agentinfer
