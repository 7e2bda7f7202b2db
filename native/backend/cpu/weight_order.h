#pragma once
// The order in which a step's products read their weights, as the step before had it: the same in every step
// but for the number of passes over the head.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/cpu/packing.h"

namespace agentinfer {

class WeightOrder {
 public:
  // Addresses and sizes only: the weights may be gone, so nothing may be read through them.
  struct Panels {
    const std::byte* data = nullptr;
    int64_t count = 0, panel_bytes = 0;
  };

  void begin_step() { place_ = 0; }

  // Says that a product reads `weights` now, and returns what the next one read in the last step: of this
  // one's first product after the last, and of no panels where there was none.
  Panels advance(const PackedWeights& weights) {
    const Panels now{weights.weights.as<std::byte>(), weights.panels,
                     static_cast<int64_t>(weights.weights.bytes()) / weights.panels};
    if (place_ == order_.size())
      order_.push_back(now);
    else
      order_[place_] = now;
    place_ = place_ + 1 < kMost ? place_ + 1 : 0;
    return order_[place_ < order_.size() ? place_ : 0];
  }

 private:
  static constexpr size_t kMost = 4096;  // products outside of any step would be added for ever
  std::vector<Panels> order_;
  size_t place_ = 0;  // of the next product
};

}  // namespace agentinfer
