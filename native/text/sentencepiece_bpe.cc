#include "text/sentencepiece_bpe.h"

#include <optional>

#include "tensor/check.h"
#include "text/utf8.h"

namespace agentinfer {

// One call: where the ids go, and what the reference's loop over the result keeps in mind.
struct SentencePieceBpe::Run {
  const SentencePieceBpe& bpe;
  Scratch& scratch;
  const bool plain;
  const EncodeProgress& progress;
  std::vector<int32_t>& out;
  const size_t first = out.size();

  void put(int32_t id) {
    // Without byte fallback a run of unknown characters is one unknown token.
    if (id == bpe.unk_id_ && out.size() > first && out.back() == id) return;
    out.push_back(id);
  }

  void put_unknown(uint32_t code, std::vector<int32_t>& ids) const {
    if (!bpe.byte_fallback_) return ids.push_back(bpe.unk_id_);
    std::string bytes;
    append_utf8(code, bytes);
    for (const char byte : bytes) ids.push_back(bpe.byte_ids_[static_cast<uint8_t>(byte)]);
  }

  void put_symbol(uint32_t symbol, std::vector<int32_t>& ids) const {
    if (symbol & kUnknown) return put_unknown(symbol & ~kUnknown, ids);
    if (symbol & kFrozen) return ids.push_back(static_cast<int32_t>(symbol & ~kFrozen));
    if (symbol < bpe.piece_count_) return ids.push_back(static_cast<int32_t>(symbol));
    const ExtraCharacter& extra = bpe.extra_characters_[symbol - bpe.piece_count_];
    if (plain || extra.marker < 0) return put_unknown(extra.code, ids);
    ids.push_back(extra.marker);
  }

  bool is_unused(uint32_t symbol) const { return symbol < bpe.piece_count_ && bpe.unused_[symbol]; }

  bool encode_word(std::string_view word, size_t characters);
  bool encode_by_words();
  bool split_unused(uint32_t symbol, const Halves& halves);
  void encode_whole();
};

// Encodes a stretch between two borders. False: an unused piece came out that several pairs make.
bool SentencePieceBpe::Run::encode_word(std::string_view word, size_t characters) {
  if (characters == 0) return true;
  std::vector<uint32_t>& symbols = scratch.symbols;
  if (characters == 1) {
    const uint32_t symbol = bpe.symbol_of(decode_valid_utf8(word.data()).code);
    scratch.ids.clear();
    put_symbol(symbol, scratch.ids);
    for (const int32_t id : scratch.ids) put(id);
    return true;
  }
  const bool cacheable = word.size() <= WordKey::kMaxBytes;
  WordCache::Slot* slot = nullptr;
  std::optional<WordKey> key;
  if (cacheable) {
    key.emplace(word, scratch.normalized.data() + scratch.normalized.size(), plain);
    slot = &scratch.cache.slot(*key);
    if (slot->holds(*key)) {
      for (const int32_t id : slot->found()) put(id);
      return true;
    }
  }
  symbols.clear();
  for (const char* at = word.data(); at < word.data() + word.size();) {
    const DecodedChar next = decode_valid_utf8(at);
    symbols.push_back(bpe.symbol_of(next.code));
    at += next.length;
  }
  scratch.merger.merge(bpe.merges_, plain, symbols, [this] { progress(0); });
  scratch.ids.clear();
  for (const uint32_t symbol : symbols) {
    if (!is_unused(symbol))
      put_symbol(symbol, scratch.ids);
    else if (!split_unused(symbol, bpe.only_halves_))
      return false;
  }
  for (const int32_t id : scratch.ids) put(id);
  if (slot) WordCache::store(*slot, *key, scratch.ids);
  return true;
}

bool SentencePieceBpe::Run::encode_by_words() {
  const std::string_view text = scratch.normalized;
  const ByteTrie& user_defined = bpe.user_defined(plain);
  size_t begin = 0, at = 0, characters = 0, reported = 0;
  uint32_t previous = 0;
  const auto finish_word = [&](size_t end) {
    const bool good = encode_word(text.substr(begin, end - begin), characters);
    characters = 0;
    begin = end;
    return good;
  };
  while (at < text.size()) {
    if (user_defined.may_start(text[at])) {
      if (const ByteTrie::Match match = user_defined.longest(text.substr(at)); match.length > 0) {
        if (!finish_word(at)) return false;
        put(match.value);
        begin = at += match.length;
        continue;
      }
    }
    const DecodedChar next = decode_valid_utf8(text.data() + at);
    if (characters > 0 && !bpe.may_join(previous, next.code) && !finish_word(at)) return false;
    previous = next.code;
    at += next.length;
    ++characters;
    if (at - reported >= kProgressBytes) {
      progress(0);
      reported = at;
    }
  }
  return finish_word(text.size());
}

// An unused piece is what its two halves are. False where `halves` does not know them.
bool SentencePieceBpe::Run::split_unused(uint32_t symbol, const Halves& halves) {
  std::vector<uint32_t> stack = {symbol};
  while (!stack.empty()) {
    const uint32_t top = stack.back();
    stack.pop_back();
    if (!is_unused(top)) {
      put_symbol(top, scratch.ids);
      continue;
    }
    const auto found = halves.find(top);
    if (found == halves.end()) return false;
    stack.push_back(found->second.second);
    stack.push_back(found->second.first);
  }
  return true;
}

void SentencePieceBpe::Run::encode_whole() {
  const std::string_view text = scratch.normalized;
  const ByteTrie& user_defined = bpe.user_defined(plain);
  std::vector<uint32_t>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t at = 0; at < text.size();) {
    if (const ByteTrie::Match match = user_defined.longest(text.substr(at)); match.length > 0) {
      symbols.push_back(kFrozen | static_cast<uint32_t>(match.value));
      at += match.length;
    } else {
      const DecodedChar next = decode_valid_utf8(text.data() + at);
      symbols.push_back(bpe.symbol_of(next.code));
      at += next.length;
    }
  }
  Halves halves;
  scratch.merger.merge_observed(
      bpe.merges_, plain, symbols, [this] { progress(0); },
      [&](const MergeTable::Entry& seen) {
        const uint32_t result = seen.result & ~MergeTable::kMarker;
        if (bpe.unused_[result]) halves.insert_or_assign(result, std::pair(seen.left, seen.right));
      });
  for (const uint32_t symbol : symbols) {
    scratch.ids.clear();
    ensure(split_unused(symbol, halves), "an unused piece came out of a merge that was not seen: ", symbol);
    for (const int32_t id : scratch.ids) put(id);
  }
}

void SentencePieceBpe::encode(std::string_view text, bool plain, const EncodeProgress& progress,
                              std::vector<int32_t>& out) const {
  const auto scratch = scratch_.borrow();
  normalizer_.normalize(text, user_defined(plain), progress, scratch->normalized);
  Run run{*this, *scratch, plain, progress, out};
  if (!run.encode_by_words()) {
    out.resize(run.first);
    run.encode_whole();
  }
  scratch->merger.trim();
  if (scratch->normalized.capacity() > 1 << 20) scratch->normalized = {};
  if (scratch->symbols.capacity() > 1 << 18) scratch->symbols = {};
}

uint32_t SentencePieceBpe::symbol_of(uint32_t code) const {
  if (code < 0x10000) return low_symbols_[code];
  const auto found = high_symbols_.find(code);
  return found == high_symbols_.end() ? kUnknown | code : found->second;
}

bool SentencePieceBpe::may_join(uint32_t left, uint32_t right) const {
  const uint64_t bit =
      ((static_cast<uint64_t>(left) << 21 | right) * 0x9E3779B97F4A7C15ull) >> neighbour_shift_;
  return neighbours_[bit >> 6] >> (bit & 63) & 1;
}

}  // namespace agentinfer
