#pragma once
// The splitting rules of the byte-level families, matched by hand: at every position the first of these that
// matches
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)        contractions
//   [^\r\n\p{L}\p{N}]?\p{L}+            letters, with one other character in front
//   \p{N}  or  \p{N}{1,3}               digits: Qwen one by one, Llama 3 up to three
//    ?[^\s\p{L}\p{N}]+[\r\n]*           signs, with one space in front and line ends behind
//   \s*[\r\n]+                          white space up to the last line end
//   \s+(?!\S)                           white space but for the last before something else
//   \s+
// Every character belongs to exactly one word.

#include <cstddef>
#include <optional>
#include <string_view>

namespace agentinfer {

struct SplitRule {
  size_t digits = 1;  // most digits in one word
};

// The rule of a tokenizer.json `Split` pattern; std::nullopt for a pattern that is not one of the two.
std::optional<SplitRule> split_rule_of(std::string_view pattern);

// End of the word that begins at `at`. REQUIRES: valid UTF-8, at < text.size() at the beginning of a
// character.
size_t word_end(const SplitRule& rule, std::string_view text, size_t at);

}  // namespace agentinfer
