#pragma once
// One outcome record of a StepResult by the names of its fields (kOutcome, step.h).

#include <array>
#include <cstddef>
#include <string_view>

#include "engine/step.h"

namespace agentinfer {

enum class OutcomeField : size_t {
  kSequence,
  kKind,
  kComputed,
  kEmitted,
  kFinish,
  kDrafted,
  kAccepted,
  kBlocks,
  kCachedTokens,
  kError,
};

namespace outcome_fields {
constexpr std::array<std::string_view, 10> kNames{"sequence",     "kind",    "computed", "emitted",
                                                  "finish",       "drafted", "accepted", "blocks",
                                                  "cachedTokens", "error"};
constexpr bool in_order() {
  for (size_t i = 0; i < kOutcome.size(); ++i)
    if (kNames[i] != kOutcome[i]) return false;
  return kNames.size() == kOutcome.size();
}
static_assert(in_order());
}  // namespace outcome_fields

// The field of record `outcome`.
inline int32_t& field(StepResult& result, int outcome, OutcomeField which) {
  return result.outcomes[static_cast<size_t>(outcome) * kOutcome.size() + static_cast<size_t>(which)];
}
inline int32_t field(const StepResult& result, int outcome, OutcomeField which) {
  return result.outcomes[static_cast<size_t>(outcome) * kOutcome.size() + static_cast<size_t>(which)];
}
inline int outcome_count(const StepResult& result) {
  return static_cast<int>(result.outcomes.size() / kOutcome.size());
}

}  // namespace agentinfer
