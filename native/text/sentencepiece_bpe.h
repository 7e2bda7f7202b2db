#pragma once
// SentencePiece's BPE encoding, id for id (google/sentencepiece, src/bpe_model.cc and
// sentencepiece_processor.cc), faster.
//
// Why it may cut the text: a merge joins two neighbouring characters only if some piece holds these two
// characters side by side. Between characters that no piece holds side by side nothing can ever merge, so the
// stretches between such borders can be encoded one by one, and remembered, with the same result. The set of
// neighbours is kept as a bitmap of hashes; a false positive only makes a stretch longer.
//
// Unused pieces are the exception: SentencePiece takes them apart again by the last pair *seen anywhere in
// the text* that makes them. Where only one pair can make a piece there is no question; when a result holds
// another one, the whole text is encoded again the slow way that keeps that record.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/byte_trie.h"
#include "text/merge_table.h"
#include "text/merger.h"
#include "text/scratch_pool.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_normalizer.h"
#include "text/subword.h"
#include "text/word_cache.h"

namespace agentinfer {

class SentencePieceBpe final : public SubwordEncoder {
 public:
  // `markers[id]`: an id that plain text must not produce. REQUIRES: markers.size() == model.pieces.size().
  SentencePieceBpe(const SentencePieceModel& model, std::vector<bool> markers);

  void encode(std::string_view text, bool plain, const EncodeProgress& progress,
              std::vector<int32_t>& out) const override;

 private:
  // A symbol is a piece id, or, from pieces_ on, a character of extra_characters_, or one of these with the
  // rest of the bits:
  static constexpr uint32_t kUnknown = 0x80000000;  // | code point of a character that no piece holds
  static constexpr uint32_t kFrozen = 0x40000000;   // | id of a user-defined piece, which never merges

  struct Scratch {
    std::string normalized;
    std::vector<uint32_t> symbols;
    std::vector<int32_t> ids;
    Merger merger;
    WordCache cache;
  };
  struct Run;  // one call of encode
  using Halves =
      std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>>;  // symbol -> the two that make it

  void index_characters(const SentencePieceModel& model);
  void index_neighbours(const SentencePieceModel& model);
  void index_merges(const SentencePieceModel& model);

  uint32_t symbol_of(uint32_t code) const;
  bool may_join(uint32_t left, uint32_t right) const;
  const ByteTrie& user_defined(bool plain) const { return plain ? plain_user_defined_ : user_defined_; }

  SentencePieceNormalizer normalizer_;
  uint32_t piece_count_;
  bool byte_fallback_;
  int32_t unk_id_;
  std::vector<int32_t> byte_ids_;  // [256]; empty without byte_fallback
  std::vector<bool> markers_;
  std::vector<bool> unused_;  // by id
  Halves only_halves_;        // of the unused pieces that one pair alone makes
  ByteTrie user_defined_, plain_user_defined_;
  std::vector<uint32_t> low_symbols_;  // by code point below 0x10000; kUnknown | code where there is none
  std::unordered_map<uint32_t, uint32_t> high_symbols_;  // the others
  // Characters held by pieces without being one that plain text may give.
  struct ExtraCharacter {
    uint32_t code;
    int32_t marker;  // id where it is a marker; -1: unknown in trusted text too
  };
  std::vector<ExtraCharacter> extra_characters_;
  std::vector<uint64_t> neighbours_;  // bitmap; a power of two of words
  int neighbour_shift_ = 0;
  MergeTable merges_;
  mutable ScratchPool<Scratch> scratch_;
};

}  // namespace agentinfer
