#include <cstddef>

#include "draft/query_index.h"

namespace agentinfer {

namespace {

constexpr uint32_t kInvalid = UINT32_MAX;

// The code point at text[at], which moves behind it; kInvalid and one byte further where the bytes are not
// UTF-8.
uint32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(at++);
  if (first < 0x80) return first;
  const size_t more = first >= 0xf0 && first < 0xf5   ? 3
                      : first >= 0xe0 && first < 0xf0 ? 2
                      : first >= 0xc2 && first < 0xe0 ? 1
                                                      : 0;
  if (more == 0 || at + more > text.size()) return kInvalid;
  uint32_t code = first & (0x3fu >> more);
  for (size_t i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return kInvalid;
    code = code << 6 | (byte(at + i) & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  if (code < kLeast[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return kInvalid;
  at += more;
  return code;
}

bool within(uint32_t code, uint32_t first, uint32_t last) {
  return code >= first && code <= last;
}

// Lower case for ASCII, full-width ASCII, Latin-1, Greek and Cyrillic.
uint32_t fold(uint32_t code) {
  if (within(code, 0xff01, 0xff5e)) code -= 0xfee0;
  if (within(code, 'A', 'Z')) return code + 32;
  if (within(code, 0xc0, 0xde) && code != 0xd7) return code + 32;
  if (within(code, 0x391, 0x3a9) || within(code, 0x410, 0x42f)) return code + 32;
  if (within(code, 0x400, 0x40f)) return code + 80;
  return code;
}

// Scripts written without spaces, and Hangul, whose words carry endings.
bool is_cjk(uint32_t code) {
  return within(code, 0x3040, 0x30ff) || within(code, 0x3400, 0x4dbf) || within(code, 0x4e00, 0x9fff) ||
         within(code, 0xac00, 0xd7af) || within(code, 0xf900, 0xfaff) || within(code, 0x20000, 0x3134f);
}

bool is_word(uint32_t code) {
  if (code < 0x80) return within(code, '0', '9') || within(code, 'a', 'z');
  const bool mark = code < 0xaa || code == 0xab || within(code, 0xac, 0xb4) || within(code, 0xb6, 0xb9) ||
                    code == 0xbb || code == 0xbf || code == 0xd7 || code == 0xf7 ||
                    within(code, 0x2000, 0x2bff) || within(code, 0x3000, 0x303f) ||
                    within(code, 0xe000, 0xf8ff) || within(code, 0xfe10, 0xfe6f) ||
                    within(code, 0xff00, 0xffff) || within(code, 0x1f000, 0x1faff);
  return !mark && code != kInvalid;
}

// FNV-1a over code points.
class TermHash {
 public:
  void add(uint32_t code) { value_ = (value_ ^ code) * 0x100000001b3u; }
  uint64_t value() const { return value_ ^ (value_ >> 29); }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace

std::vector<uint64_t> query_terms(std::string_view text) {
  std::vector<uint64_t> terms;
  TermHash word;
  size_t word_length = 0, cjk_run = 0;
  uint32_t previous = 0;
  const auto end_word = [&] {
    if (word_length > 0) terms.push_back(word.value());
    word = TermHash();
    word_length = 0;
  };
  const auto pair = [&](uint32_t a, uint32_t b) {
    TermHash hash;
    hash.add(a);
    if (b) hash.add(b);
    terms.push_back(hash.value());
  };
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = fold(next_code_point(text, at));
    if (is_cjk(code)) {
      end_word();
      if (cjk_run > 0) pair(previous, code);
      previous = code;
      ++cjk_run;
      continue;
    }
    if (cjk_run == 1) pair(previous, 0);  // alone
    cjk_run = 0;
    if (is_word(code)) {
      word.add(code);
      ++word_length;
    } else {
      end_word();
    }
  }
  if (cjk_run == 1) pair(previous, 0);
  end_word();
  return terms;
}

}  // namespace agentinfer
