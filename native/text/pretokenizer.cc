#include "text/pretokenizer.h"

#include <array>

#include "text/unicode.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

constexpr std::string_view kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<uint8_t, 128> ascii_classes() {
  std::array<uint8_t, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) classes[c] = kLetter;
    if (c >= '0' && c <= '9') classes[c] = kNumber;
    if (c == ' ' || (c >= '\t' && c <= '\r')) classes[c] = kSpace;
  }
  return classes;
}
constexpr std::array<uint8_t, 128> kAscii = ascii_classes();
constexpr uint8_t kKinds = kLetter | kNumber | kSpace;

// The text from one position on: kind (kLetter, kNumber, kSpace or 0) and bytes of the next character.
struct Cursor {
  std::string_view text;
  size_t at;
  uint8_t kind = 0;
  uint32_t length = 0;  // 0 at the end

  Cursor(std::string_view whole, size_t position) : text(whole), at(position) { look(); }

  void look() {
    if (at >= text.size()) {
      length = 0;
      kind = 0;
    } else if (const auto lead = static_cast<uint8_t>(text[at]); lead < 0x80) {
      length = 1;
      kind = kAscii[lead];
    } else {
      const DecodedChar next = decode_valid_utf8(text.data() + at);
      length = next.length;
      kind = character_class(next.code) & kKinds;
    }
  }
  void advance() {
    at += length;
    look();
  }
  bool done() const { return length == 0; }
  bool is(uint8_t wanted) const { return length != 0 && kind == wanted; }
  bool is_newline() const { return length != 0 && (text[at] == '\r' || text[at] == '\n'); }
  size_t skip(uint8_t wanted) {
    while (is(wanted)) advance();
    return at;
  }
};

// 0 when no contraction begins here. Case folding has U+017F (long s) equal s, as the reference's regex
// engine does.
size_t contraction_length(std::string_view text) {
  const auto lower = [&](size_t index) {
    return index < text.size() ? static_cast<char>(text[index] | 0x20) : '\0';
  };
  if (text[0] != '\'') return 0;
  const char first = lower(1), second = lower(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  return text.substr(1).starts_with("\xC5\xBF") ? 3 : 0;
}

size_t white_space_end(std::string_view text, size_t at) {
  size_t after_newline = 0, last = at;
  Cursor cursor(text, at);
  for (; cursor.is(kSpace); cursor.advance()) {
    last = cursor.at;
    if (cursor.is_newline()) after_newline = cursor.at + 1;
  }
  if (after_newline != 0) return after_newline;
  // The last one is left to what follows, if something follows and this is not all there is.
  return cursor.done() || last == at ? cursor.at : last;
}

}  // namespace

std::optional<SplitRule> split_rule_of(std::string_view pattern) {
  if (pattern == kQwenPattern) return SplitRule{1};
  if (pattern == kLlama3Pattern) return SplitRule{3};
  return std::nullopt;
}

size_t word_end(const SplitRule& rule, std::string_view text, size_t at) {
  if (const size_t length = contraction_length(text.substr(at)); length > 0) return at + length;
  Cursor cursor(text, at);
  if (cursor.is(kLetter)) return cursor.skip(kLetter);
  if (cursor.is(kNumber)) {
    for (size_t digits = 0; digits < rule.digits && cursor.is(kNumber); ++digits) cursor.advance();
    return cursor.at;
  }
  Cursor next = cursor;
  next.advance();
  if (!cursor.is_newline() && next.is(kLetter)) return next.skip(kLetter);
  if (text[at] == ' ' && next.is(0)) cursor = next;
  if (cursor.is(0)) {
    cursor.skip(0);
    while (cursor.is_newline()) cursor.advance();
    return cursor.at;
  }
  return white_space_end(text, at);
}

}  // namespace agentinfer
