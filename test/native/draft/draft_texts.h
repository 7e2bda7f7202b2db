#pragma once
// Texts for the drafting tests: random over small alphabets, all equal, Fibonacci words, with borders; and a
// cursor that goes through them alone.

#include <cstdint>
#include <random>
#include <vector>

#include "draft/cursor.h"

namespace texts {

using Tokens = std::vector<int32_t>;

inline int32_t pick(std::mt19937_64& random, int32_t count) {
  return static_cast<int32_t>(random() % static_cast<uint64_t>(count));
}

inline Tokens random_tokens(std::mt19937_64& random, size_t size, int32_t alphabet) {
  Tokens out(size);
  for (int32_t& token : out) token = pick(random, alphabet);
  return out;
}

inline Tokens fibonacci_word(size_t size) {
  Tokens a{0}, b{0, 1};
  while (b.size() < size) {
    Tokens next = b;
    next.insert(next.end(), a.begin(), a.end());
    a = std::move(b);
    b = std::move(next);
  }
  b.resize(size);
  return b;
}

// Pieces of what came before, between random tokens: what agents' texts look like, in small.
inline Tokens repetitive_tokens(std::mt19937_64& random, size_t size, int32_t alphabet) {
  Tokens out;
  while (out.size() < size) {
    const size_t length = 1 + random() % 30;
    if (!out.empty() && random() % 2) {
      const size_t begin = random() % out.size();
      for (size_t i = begin; i < out.size() && i < begin + length && out.size() < size; ++i)
        out.push_back(out[i]);
    } else {
      for (size_t i = 0; i < length && out.size() < size; ++i) out.push_back(pick(random, alphabet));
    }
  }
  return out;
}

inline void advance(agentinfer::Cursor& cursor, const agentinfer::SuffixAutomaton& automaton, int32_t token) {
  agentinfer::Walk walk(automaton, cursor, {&token, 1});
  while (walk.step()) {
  }
}

}  // namespace texts
