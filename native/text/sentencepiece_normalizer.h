#pragma once
// SentencePiece's normaliser: the precompiled character map (a Darts-clone double array of byte strings, each
// with a replacement), whitespace rules, and space to U+2581. Invalid bytes become U+FFFD, one each.
// Immutable, thread safe.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/sentencepiece_model.h"

namespace agentinfer {

inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581, what a space becomes

class SentencePieceNormalizer {
 public:
  // Throws kModelInvalid when the character map is damaged.
  explicit SentencePieceNormalizer(const NormalizerSpec& spec);

  // Replaces `out` with the normalised text, which is valid UTF-8. Texts that `verbatim` matches are kept as
  // they are (the user-defined pieces). `progress` is called with the bytes read since the last call, and
  // may throw.
  void normalize(std::string_view text, const ByteTrie& verbatim, const std::function<void(size_t)>& progress,
                 std::string& out) const;

 private:
  struct Step {
    std::string_view output;
    size_t consumed = 0;
  };
  Step step(std::string_view text, const ByteTrie& verbatim) const;
  Step longest_rule(std::string_view text) const;
  void append(std::string_view text, std::string& out) const;
  void normalize_identity(std::string_view text, const std::function<void(size_t)>& progress,
                          std::string& out) const;
  void normalize_rules(std::string_view text, const ByteTrie& verbatim,
                       const std::function<void(size_t)>& progress, std::string& out) const;

  bool add_dummy_prefix_, remove_extra_whitespaces_, escape_whitespaces_, whitespace_as_suffix_;
  std::vector<uint32_t> trie_;  // double-array units; empty: no rules
  std::string replacements_;    // NUL-terminated strings, each valid UTF-8
};

}  // namespace agentinfer
