#pragma once
// How often each token occurred in a sequence, for penalties. Only sequences that have penalties need one
// filled. Nothing is ever taken back: append a token when it is accepted, never when it is drafted.

#include <cstdint>
#include <span>
#include <vector>

namespace agentinfer {

class TokenHistory {
 public:
  struct Entry {
    int32_t token = 0;
    int32_t prompt = 0, output = 0;  // occurrences
  };

  void append_prompt(std::span<const int32_t> tokens);
  void append_output(int32_t token);
  // For a sequence without penalties: counts the output's length only (min_tokens needs it).
  void skip_output() { ++outputs_; }

  // One for each distinct token, in order of first occurrence.
  std::span<const Entry> entries() const { return entries_; }
  int64_t output_tokens() const { return outputs_; }

 private:
  Entry& entry(int32_t token);
  void grow();

  std::vector<Entry> entries_;
  std::vector<int32_t> table_;  // open addressing: index into entries_, or -1; size a power of two
  int64_t outputs_ = 0;
};

}  // namespace agentinfer
