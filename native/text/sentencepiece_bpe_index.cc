// Building SentencePieceBpe's tables from the pieces.

#include <algorithm>
#include <bit>

#include "tensor/check.h"
#include "text/sentencepiece_bpe.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

// Pieces that merges can make. A user-defined piece cannot come out of a merge: wherever its text begins at a
// character that is not part of another user-defined piece, it (or a longer one) was taken out before
// merging.
bool is_mergeable(const SentencePiece& piece) {
  return piece.type == PieceType::kNormal || piece.type == PieceType::kUnused;
}

// Code points of text known to be valid UTF-8, and where each begins, the end included.
struct Characters {
  std::vector<uint32_t> codes;
  std::vector<size_t> begins;

  void read(std::string_view text) {
    codes.clear();
    begins.clear();
    for (size_t at = 0; at < text.size();) {
      const DecodedChar next = decode_valid_utf8(text.data() + at);
      codes.push_back(next.code);
      begins.push_back(at);
      at += next.length;
    }
    begins.push_back(text.size());
  }
};

// Equal scores get equal ranks: the leftmost pair wins among them.
std::vector<uint32_t> ranks_by_score(const SentencePieceModel& model) {
  std::vector<uint32_t> order(model.pieces.size()), ranks(model.pieces.size());
  for (uint32_t id = 0; id < order.size(); ++id) order[id] = id;
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return model.pieces[a].score > model.pieces[b].score; });
  for (uint32_t i = 0; i < order.size(); ++i)
    ranks[order[i]] =
        i > 0 && model.pieces[order[i]].score == model.pieces[order[i - 1]].score ? ranks[order[i - 1]] : i;
  return ranks;
}

}  // namespace

SentencePieceBpe::SentencePieceBpe(const SentencePieceModel& model, std::vector<bool> markers)
    : normalizer_(model.normalizer),
      piece_count_(static_cast<uint32_t>(model.pieces.size())),
      byte_fallback_(model.byte_fallback),
      unk_id_(model.unk_id),
      markers_(std::move(markers)),
      unused_(model.pieces.size()) {
  ensure(markers_.size() == model.pieces.size(), "SentencePieceBpe: ", markers_.size(), " marker flags");
  ensure(model.pieces.size() < kFrozen / 2, "SentencePieceBpe: ", model.pieces.size(), " pieces");
  if (byte_fallback_) byte_ids_.assign(model.byte_ids, model.byte_ids + 256);
  for (uint32_t id = 0; id < piece_count_; ++id) {
    const SentencePiece& piece = model.pieces[id];
    unused_[id] = piece.type == PieceType::kUnused;
    if (piece.type != PieceType::kUserDefined) continue;
    user_defined_.insert(piece.text, static_cast<int32_t>(id));
    if (!markers_[id]) plain_user_defined_.insert(piece.text, static_cast<int32_t>(id));
  }
  index_characters(model);
  index_neighbours(model);
  index_merges(model);
}

void SentencePieceBpe::index_characters(const SentencePieceModel& model) {
  low_symbols_.resize(0x10000);
  for (uint32_t code = 0; code < 0x10000; ++code) low_symbols_[code] = kUnknown | code;
  const auto assign = [this](uint32_t code, uint32_t symbol) {
    if (code < 0x10000)
      low_symbols_[code] = symbol;
    else
      high_symbols_[code] = symbol;
  };
  const auto extra = [&](uint32_t code, int32_t id) {
    assign(code, piece_count_ + static_cast<uint32_t>(extra_characters_.size()));
    extra_characters_.push_back({code, id});
  };
  Characters characters;
  for (uint32_t id = 0; id < piece_count_; ++id) {
    // A character whose piece is unused takes part in merges, but is unknown when it remains alone. So is one
    // that is a marker, in plain text. User-defined ones never come here.
    if (model.pieces[id].type != PieceType::kNormal) continue;
    characters.read(model.pieces[id].text);
    if (characters.codes.size() != 1) continue;
    if (markers_[id])
      extra(characters.codes[0], static_cast<int32_t>(id));
    else
      assign(characters.codes[0], id);
  }
  for (const SentencePiece& piece : model.pieces) {
    if (!is_mergeable(piece)) continue;
    characters.read(piece.text);
    for (const uint32_t code : characters.codes)
      if (symbol_of(code) & kUnknown) extra(code, -1);
  }
}

void SentencePieceBpe::index_neighbours(const SentencePieceModel& model) {
  size_t pairs = 1;
  for (const SentencePiece& piece : model.pieces) pairs += is_mergeable(piece) ? piece.text.size() / 2 : 0;
  // About 8 bits a pair (many repeat), from 4 KiB to 1 MiB.
  const size_t bits = std::clamp<size_t>(std::bit_ceil(pairs * 8), 1 << 15, 1 << 23);
  neighbours_.assign(bits / 64, 0);
  neighbour_shift_ = 64 - std::countr_zero(bits);
  Characters characters;
  for (const SentencePiece& piece : model.pieces) {
    if (!is_mergeable(piece)) continue;
    characters.read(piece.text);
    for (size_t i = 1; i < characters.codes.size(); ++i) {
      const uint64_t key = static_cast<uint64_t>(characters.codes[i - 1]) << 21 | characters.codes[i];
      const uint64_t bit = (key * 0x9E3779B97F4A7C15ull) >> neighbour_shift_;
      neighbours_[bit >> 6] |= uint64_t{1} << (bit & 63);
    }
  }
}

void SentencePieceBpe::index_merges(const SentencePieceModel& model) {
  const std::vector<uint32_t> ranks = ranks_by_score(model);

  std::vector<MergeTable::Entry> entries;
  Characters characters;
  for (uint32_t id = 0; id < piece_count_; ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (!is_mergeable(piece)) continue;
    characters.read(piece.text);
    const std::string_view text = piece.text;
    const size_t count = characters.codes.size();
    // Every way to cut the piece in two symbols.
    const auto symbol = [&](size_t begin, size_t end) {
      if (end - begin == 1) return symbol_of(characters.codes[begin]);
      const size_t from = characters.begins[begin];
      const int32_t found = model.ids.find(text.substr(from, characters.begins[end] - from));
      return found >= 0 && is_mergeable(model.pieces[found]) ? static_cast<uint32_t>(found)
                                                             : MergeTable::kEmpty;
    };
    for (size_t cut = 1; cut < count; ++cut) {
      const uint32_t left = symbol(0, cut);
      const uint32_t right = left == MergeTable::kEmpty ? left : symbol(cut, count);
      if (right == MergeTable::kEmpty) continue;
      entries.push_back({left, right, id | (markers_[id] ? MergeTable::kMarker : 0), ranks[id]});
    }
  }
  merges_ = MergeTable(entries.size());
  for (const MergeTable::Entry& entry : entries) merges_.insert(entry);
  for (size_t i = 0; i < entries.size(); ++i) {  // the entries of one piece are neighbours
    const uint32_t id = entries[i].result & ~MergeTable::kMarker;
    const auto makes_it = [&](size_t other) {
      return other < entries.size() && (entries[other].result & ~MergeTable::kMarker) == id;
    };
    if (unused_[id] && !makes_it(i - 1) && !makes_it(i + 1))
      only_halves_[id] = {entries[i].left, entries[i].right};
  }
}

}  // namespace agentinfer
