#pragma once
// What the two tokenizer families have in common inside: a stretch of text without special markers becomes
// ids.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace agentinfer {

// Told how many bytes were worked through since the last call; throws kAborted when the caller has had
// enough.
using EncodeProgress = std::function<void(size_t)>;
inline constexpr size_t kProgressBytes = 64 << 10;

class SubwordEncoder {
 public:
  virtual ~SubwordEncoder() = default;

  // Appends the ids of `text` to `out`. `plain`: ids of special markers cannot come out, whatever the text
  // says. Thread safe.
  virtual void encode(std::string_view text, bool plain, const EncodeProgress& progress,
                      std::vector<int32_t>& out) const = 0;
};

}  // namespace agentinfer
