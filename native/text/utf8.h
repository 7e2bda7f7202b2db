#pragma once
// UTF-8 as RFC 3629 defines it: shortest forms only, no surrogates, nothing beyond U+10FFFF.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace agentinfer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

struct DecodedChar {
  uint32_t code = 0;
  uint32_t length = 0;  // bytes; 0: text does not begin with a valid character
};

// The first character. REQUIRES: !text.empty().
DecodedChar decode_utf8(std::string_view text);

bool is_valid_utf8(std::string_view text);
void append_utf8(uint32_t code, std::string& out);

// The first character of text known to be valid UTF-8.
DecodedChar decode_valid_utf8(const char* text);

// Bytes of the maximal subpart at the start of text that is not a valid character (Unicode 15, section 3.9),
// at least 1. `complete` is false when the subpart ends with the text: more bytes might still make it a
// character. REQUIRES: decode_utf8(text).length == 0.
size_t invalid_utf8_length(std::string_view text, bool& complete);

// Each maximal invalid subpart becomes one U+FFFD.
void append_utf8_lossy(std::string_view text, std::string& out);

}  // namespace agentinfer
