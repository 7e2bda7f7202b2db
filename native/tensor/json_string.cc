// The strings of JSON: escapes, surrogates, UTF-8.
#include <cstring>

#include "tensor/json_parser.h"

namespace agentinfer {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Control characters, the quote and the backslash end a plain run; so does anything above ASCII.
bool is_plain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x80 && c != '"' && c != '\\';
}

char* put_utf8(char* out, uint32_t code) {
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
  } else if (code < 0x800) {
    *out++ = static_cast<char>(0xc0 | (code >> 6));
    *out++ = static_cast<char>(0x80 | (code & 63));
  } else if (code < 0x10000) {
    *out++ = static_cast<char>(0xe0 | (code >> 12));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 63));
    *out++ = static_cast<char>(0x80 | (code & 63));
  } else {
    *out++ = static_cast<char>(0xf0 | (code >> 18));
    *out++ = static_cast<char>(0x80 | ((code >> 12) & 63));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 63));
    *out++ = static_cast<char>(0x80 | (code & 63));
  }
  return out;
}

}  // namespace

std::string_view JsonParser::string() {
  const char* const from = at_ + 1;
  const char* const to = end_of_string();
  const auto bytes = static_cast<size_t>(to - from);
  at_ = to + 1;
  if (bytes == 0) return {};
  char* const out = reinterpret_cast<char*>(allocate(bytes, 1));
  return {out, unescape(from, to, out)};
}

const char* JsonParser::end_of_string() {
  const char* at = at_ + 1;
  for (;;) {
    while (at != end_ && is_plain(*at)) ++at;
    if (at == end_) error(at_, "a closing quote for this string");
    if (*at == '"') return at;
    if (*at == '\\') {
      check_escape(at);
    } else if (static_cast<unsigned char>(*at) >= 0x80) {
      check_utf8(at);
    } else {
      error(at, "no raw control character in a string");
    }
  }
}

void JsonParser::check_escape(const char*& at) {
  if (end_ - at < 2) error(at, "an escape sequence");
  if (std::string_view("\"\\/bfnrt").find(at[1]) != std::string_view::npos) {
    at += 2;
    return;
  }
  if (at[1] != 'u' || end_ - at < 6) error(at, "an escape sequence");
  const uint32_t code = hex4(at + 2);
  if (code >= 0xdc00 && code < 0xe000) error(at, "a high surrogate before this low one");
  if (code >= 0xd800 && code < 0xdc00) {
    if (end_ - at < 12 || at[6] != '\\' || at[7] != 'u') error(at, "a low surrogate after this high one");
    const uint32_t low = hex4(at + 8);
    if (low < 0xdc00 || low >= 0xe000) error(at, "a low surrogate after this high one");
    at += 6;
  }
  at += 6;
}

// Well formed byte sequences of Unicode's table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF.
void JsonParser::check_utf8(const char*& at) {
  const auto byte = [&](ptrdiff_t i) { return static_cast<unsigned>(static_cast<unsigned char>(at[i])); };
  const unsigned lead = byte(0);
  const ptrdiff_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  bool valid = lead >= 0xc2 && lead <= 0xf4 && end_ - at >= length;
  for (ptrdiff_t i = 1; valid && i < length; ++i) valid = (byte(i) & 0xc0u) == 0x80u;
  if (valid && lead == 0xe0) valid = byte(1) >= 0xa0;
  if (valid && lead == 0xed) valid = byte(1) < 0xa0;
  if (valid && lead == 0xf0) valid = byte(1) >= 0x90;
  if (valid && lead == 0xf4) valid = byte(1) < 0x90;
  if (!valid) error(at, "valid UTF-8");
  at += length;
}

uint32_t JsonParser::hex4(const char* at) {
  uint32_t code = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at[i];
    const char lower = static_cast<char>(c | 0x20);
    if (!is_digit(c) && (lower < 'a' || lower > 'f')) error(at + i, "four hexadecimal digits after \\u");
    code = code * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
  }
  return code;
}

// Copies [from, to), already validated, with escapes resolved; the result is never longer than its source.
size_t JsonParser::unescape(const char* from, const char* to, char* out) {
  static constexpr std::string_view kLetters = "bfnrt";
  static constexpr std::string_view kControls = "\b\f\n\r\t";
  char* const first = out;
  while (from != to) {
    const auto left = static_cast<size_t>(to - from);
    const auto* escape = static_cast<const char*>(std::memchr(from, '\\', left));
    const size_t run = escape ? static_cast<size_t>(escape - from) : left;
    std::memcpy(out, from, run);
    out += run;
    from += run;
    if (!escape) break;
    const char letter = from[1];
    from += 2;
    if (letter == 'u') {
      uint32_t code = hex4(from);
      from += 4;
      if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (hex4(from + 2) - 0xdc00);
        from += 6;
      }
      out = put_utf8(out, code);
    } else {
      const size_t control = kLetters.find(letter);
      *out++ = control == std::string_view::npos ? letter : kControls[control];
    }
  }
  return static_cast<size_t>(out - first);
}

}  // namespace agentinfer
