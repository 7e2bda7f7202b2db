// NFC: decompose canonically, order the marks, compose (Unicode Standard Annex 15; Hangul by section 3.12 of
// the standard).

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <vector>

#include "text/unicode.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

struct CombiningClass {
  uint32_t code;
  uint8_t value;
};
struct Decomposition {
  uint32_t code, first, second;  // second == 0: a singleton
};
struct Composition {
  uint32_t first, second, code;
};

#include "text/unicode_nfc.inc"

constexpr uint32_t kHangulBase = 0xAC00, kLeadBase = 0x1100, kVowelBase = 0x1161, kTailBase = 0x11A7;
constexpr uint32_t kLeads = 19, kVowels = 21, kTails = 28, kHanguls = kLeads * kVowels * kTails;

struct Mark {
  uint32_t code;
  uint8_t combining;
};

uint8_t combining_class(uint32_t code) {
  const auto* found =
      std::lower_bound(std::begin(kCombiningClasses), std::end(kCombiningClasses), code,
                       [](const CombiningClass& entry, uint32_t key) { return entry.code < key; });
  return found != std::end(kCombiningClasses) && found->code == code ? found->value : 0;
}

void decompose(uint32_t code, std::vector<Mark>& out) {
  if (code - kHangulBase < kHanguls) {
    const uint32_t index = code - kHangulBase;
    out.push_back({kLeadBase + index / (kVowels * kTails), 0});
    out.push_back({kVowelBase + index % (kVowels * kTails) / kTails, 0});
    if (index % kTails != 0) out.push_back({kTailBase + index % kTails, 0});
    return;
  }
  const auto* found =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), code,
                       [](const Decomposition& entry, uint32_t key) { return entry.code < key; });
  if (found == std::end(kDecompositions) || found->code != code) {
    out.push_back({code, combining_class(code)});
    return;
  }
  decompose(found->first, out);  // at most four levels in the standard's data
  if (found->second != 0) decompose(found->second, out);
}

// 0 when the two do not compose.
uint32_t compose(uint32_t first, uint32_t second) {
  if (first - kLeadBase < kLeads && second - kVowelBase < kVowels)
    return kHangulBase + ((first - kLeadBase) * kVowels + (second - kVowelBase)) * kTails;
  if (first - kHangulBase < kHanguls && (first - kHangulBase) % kTails == 0 &&
      second - kTailBase - 1 < kTails - 1)
    return first + (second - kTailBase);
  const auto* found =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second),
                       [](const Composition& entry, const std::pair<uint32_t, uint32_t>& key) {
                         return std::pair(entry.first, entry.second) < key;
                       });
  return found != std::end(kCompositions) && found->first == first && found->second == second ? found->code
                                                                                              : 0;
}

void order_marks(std::vector<Mark>& marks) {
  for (auto at = marks.begin(); at != marks.end();) {
    if (at->combining == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(at, marks.end(), [](const Mark& mark) { return mark.combining == 0; });
    std::stable_sort(at, end, [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
    at = end;
  }
}

// Composes in place; what remains is in order.
void compose_marks(std::vector<Mark>& marks) {
  size_t kept = 0, starter = SIZE_MAX;
  for (size_t i = 0; i < marks.size(); ++i) {
    const Mark mark = marks[i];
    // Blocked when something stands between the starter and this that is a starter or of a class not lower.
    const bool adjacent = starter != SIZE_MAX && kept == starter + 1;
    const bool open =
        starter != SIZE_MAX &&
        (adjacent || (marks[kept - 1].combining < mark.combining && marks[kept - 1].combining != 0));
    const uint32_t composed = open ? compose(marks[starter].code, mark.code) : 0;
    if (composed != 0) {
      marks[starter] = {composed, 0};
      continue;
    }
    if (mark.combining == 0) starter = kept;
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

}  // namespace

void append_nfc(std::string_view text, std::string& out) {
  std::vector<Mark> marks;
  for (size_t at = 0; at < text.size();) {
    const DecodedChar next = decode_valid_utf8(text.data() + at);
    decompose(next.code, marks);
    at += next.length;
  }
  order_marks(marks);
  compose_marks(marks);
  for (const Mark& mark : marks) append_utf8(mark.code, out);
}

}  // namespace agentinfer
