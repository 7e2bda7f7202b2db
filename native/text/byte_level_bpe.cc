#include "text/byte_level_bpe.h"

#include <optional>

#include "text/unicode.h"
#include "text/utf8.h"

namespace agentinfer {

std::string byte_level_normalize(std::string_view text, bool nfc) {
  std::string valid, normal;
  append_utf8_lossy(text, valid);
  if (!nfc || is_surely_nfc(valid)) return valid;
  append_nfc(valid, normal);
  return normal;
}

void ByteLevelBpe::encode_word(std::string_view word, const char* text_end, bool plain,
                               const EncodeProgress& progress, Scratch& scratch,
                               std::vector<int32_t>& out) const {
  WordCache::Slot* slot = nullptr;
  std::optional<WordKey> key;
  if (word.size() <= WordKey::kMaxBytes) {
    key.emplace(word, text_end, plain);
    slot = &scratch.cache.slot(*key);
    if (slot->holds(*key)) {
      out.insert(out.end(), slot->found().begin(), slot->found().end());
      return;
    }
  }
  const size_t first = out.size();
  const int32_t whole = parts_.ignore_merges ? parts_.words.find(word) : TextIndex::kAbsent;
  if (whole != TextIndex::kAbsent) {
    out.push_back(whole);
  } else {
    scratch.symbols.clear();
    for (const char byte : word)
      scratch.symbols.push_back(static_cast<uint32_t>(parts_.byte_ids[static_cast<uint8_t>(byte)]));
    scratch.merger.merge(parts_.merges, plain, scratch.symbols, [&progress] { progress(0); });
    out.insert(out.end(), scratch.symbols.begin(), scratch.symbols.end());
  }
  if (slot) WordCache::store(*slot, *key, std::span(out).subspan(first));
}

void ByteLevelBpe::encode(std::string_view text, bool plain, const EncodeProgress& progress,
                          std::vector<int32_t>& out) const {
  const auto scratch = scratch_.borrow();
  if (!is_valid_utf8(text) || (parts_.nfc && !is_surely_nfc(text))) {
    scratch->normalized = byte_level_normalize(text, parts_.nfc);
    text = scratch->normalized;
  }
  size_t reported = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = word_end(parts_.split, text, at);
    encode_word(text.substr(at, end - at), text.data() + text.size(), plain, progress, *scratch, out);
    at = end;
    if (at - reported >= kProgressBytes) {
      progress(at - reported);
      reported = at;
    }
  }
  scratch->merger.trim();
  if (scratch->normalized.capacity() > 1 << 20) scratch->normalized = {};
  if (scratch->symbols.capacity() > 1 << 18) scratch->symbols = {};
}

}  // namespace agentinfer
