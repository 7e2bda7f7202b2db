#pragma once
// How often a sequence is looked at for drafts. A look costs the step some microseconds, most of them waiting
// for memory that the forward pass has pushed out of the caches; where nothing is ever found, that is all
// that drafting does. So a sequence that goes on finding nothing is looked at after every second token, then
// every third, and so on up to kApart; one find, and it is looked at in every step again. What begins to
// repeat is seen kApart - 1 tokens late at most. By counts alone: the same text is looked at in the same
// places.

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace agentinfer {

class Rhythm {
 public:
  static constexpr uint32_t kApart = 4;  // tokens from one look to the next, at most
  // Looks without a find before they get rarer: after a find, and before the first one.
  static constexpr uint32_t kPatience = 32, kFirstPatience = 4;

  bool due() const { return left_ == 0; }
  void looked(bool found) {
    if (found) {
      patience_ = kPatience;
      apart_ = 1;
    } else if (patience_ > 0) {
      --patience_;
    } else {
      apart_ = std::min(apart_ + 1, kApart);
    }
    left_ = apart_ > 1 ? apart_ : 0;
  }
  void emitted(size_t tokens) { left_ -= static_cast<uint32_t>(std::min<size_t>(left_, tokens)); }

 private:
  uint32_t left_ = 0;  // tokens until the next look; those of the step of the last one count
  uint32_t apart_ = 1;
  uint32_t patience_ = kFirstPatience;
};

}  // namespace agentinfer
