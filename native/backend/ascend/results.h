#pragma once
// What the host reads of a step: rows of logits, and the highest logit of each row found on the device, which
// saves copying the rows.
//
// The watch over a device that goes wrong in silence: a row with NaN or +infinity in it is read as NaN
// throughout and has no argmax, so that its request ends with an error instead of a token. Where the device
// chooses, the row is looked at when what it chose is not finite, or is no number of the row.

#include <span>

#include "backend/ascend/launcher.h"
#include "backend/ascend/objects.h"

namespace agentinfer {

class AscendResults {
 public:
  explicit AscendResults(Launcher& launcher) : launcher_(launcher) {}

  // Backend::logits, argmax, top_logits.
  std::span<const float> row(const AscendActivation& x, int row);
  void argmax(const AscendActivation& x, int rows, std::span<int32_t> out);
  std::span<const float> top(const AscendActivation& x, int row, int count);
  // Another decoder comes: an activation of its may lie where one of the last lay.
  void forget() { top_of_ = nullptr; }

 private:
  void fetch(const AscendActivation& x);
  void fetch_top(const AscendActivation& x);
  void room(int64_t rows);

  Launcher& launcher_;
  PinnedMemory pinned_;           // bf16 [rows][cols]
  DeviceMemory index_, highest_;  // int64 [rows], bf16 [rows]
  PinnedMemory index_host_, highest_host_;
  int64_t room_ = 0;  // rows of the four above
  // The highest of each row of one version of one activation.
  static constexpr int kTop = 128;
  DeviceMemory top_values_, top_index_;
  PinnedMemory top_values_host_, top_index_host_;
  const AscendActivation* top_of_ = nullptr;
  uint64_t top_version_ = 0;
  int top_count_ = 0;
  std::vector<float> sparse_;        // one row: the highest, -inf elsewhere
  std::vector<int32_t> sparse_set_;  // its finite entries
};

}  // namespace agentinfer
