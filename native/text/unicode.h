#pragma once
// The character classes and the normal form that byte-level tokenizers need, in the Unicode version of the
// reference library (see make_unicode_tables.py). Codes are Unicode scalar values.

#include <cstdint>
#include <string>
#include <string_view>

namespace agentinfer {

inline constexpr uint8_t kLetter = 1;      // \p{L}
inline constexpr uint8_t kNumber = 2;      // \p{N}
inline constexpr uint8_t kSpace = 4;       // \s (White_Space)
inline constexpr uint8_t kWord = 8;        // \w
inline constexpr uint8_t kNfcUnsafe = 16;  // may change or be changed by its neighbours under NFC

// The classes of a code point, as a set of the bits above.
uint8_t character_class(uint32_t code);

inline bool is_space(uint32_t code) {
  return (character_class(code) & kSpace) != 0;
}
inline bool is_word_character(uint32_t code) {
  return (character_class(code) & kWord) != 0;
}

// Whether NFC certainly leaves the text as it is. REQUIRES: valid UTF-8 (here and below).
bool is_surely_nfc(std::string_view text);
// Appends the canonical composition (Unicode Standard Annex 15).
void append_nfc(std::string_view text, std::string& out);

}  // namespace agentinfer
