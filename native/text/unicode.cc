#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "text/utf8.h"

namespace agentinfer {
namespace {

// Runs of code points of one class: first code point << 8 | class bits, ascending. The first run begins at 0.
// clang-format off
constexpr uint32_t kRuns[] = {
#include "text/unicode_classes.inc"
};
// clang-format on

uint8_t search(uint32_t code) {
  const uint32_t key = code << 8 | 0xFF;
  return static_cast<uint8_t>(*(std::upper_bound(std::begin(kRuns), std::end(kRuns), key) - 1));
}

}  // namespace

uint8_t character_class(uint32_t code) {
  // The two big blocks of CJK text need no search.
  if ((code >= 0x4E00 && code < 0x9FF0) || (code >= 0xAC00 && code < 0xD7A4)) return kLetter | kWord;
  return search(code);
}

bool is_surely_nfc(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const DecodedChar next = decode_valid_utf8(text.data() + at);
    if (next.code >= 0x300 && (character_class(next.code) & kNfcUnsafe)) return false;
    at += next.length;
  }
  return true;
}

}  // namespace agentinfer
