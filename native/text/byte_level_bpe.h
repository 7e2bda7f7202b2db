#pragma once
// Byte-level BPE as Hugging Face tokenizers encodes it (models/bpe): NFC where asked, split in words, every
// word's bytes merged by rank. Words are independent, so short ones are remembered.

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/merger.h"
#include "text/pretokenizer.h"
#include "text/scratch_pool.h"
#include "text/subword.h"
#include "text/text_index.h"
#include "text/word_cache.h"

namespace agentinfer {

struct ByteLevelParts {
  SplitRule split;
  bool nfc = false;
  bool ignore_merges = false;  // a word that is a token is that token, whatever its merges
  std::array<int32_t, 256> byte_ids{};
  MergeTable merges;
  // The tokens by their bytes; for ignore_merges only. Views must outlive the encoder. Markers are not among
  // them.
  TextIndex words;
};

class ByteLevelBpe final : public SubwordEncoder {
 public:
  explicit ByteLevelBpe(ByteLevelParts parts) : parts_(std::move(parts)) {}

  void encode(std::string_view text, bool plain, const EncodeProgress& progress,
              std::vector<int32_t>& out) const override;

 private:
  struct Scratch {
    std::string normalized;
    std::vector<uint32_t> symbols;
    Merger merger;
    WordCache cache;
  };
  void encode_word(std::string_view word, const char* text_end, bool plain, const EncodeProgress& progress,
                   Scratch& scratch, std::vector<int32_t>& out) const;

  ByteLevelParts parts_;
  mutable ScratchPool<Scratch> scratch_;
};

// What the text is to the reference: U+FFFD for invalid bytes, then NFC where `nfc`.
std::string byte_level_normalize(std::string_view text, bool nfc);

}  // namespace agentinfer
