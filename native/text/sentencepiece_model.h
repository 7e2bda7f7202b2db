#pragma once
// What a SentencePiece tokenizer.model holds. The file is a protobuf message (google/sentencepiece,
// src/sentencepiece_model.proto); we read its wire format ourselves and bounds-check all of it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/text_index.h"

namespace agentinfer {

enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct SentencePiece {
  std::string text;  // valid UTF-8, 1 to kMaxPieceBytes bytes
  float score = 0;   // finite
  PieceType type = PieceType::kNormal;
};

// SentencePiece's own trainer stops at 16 characters by default; user-defined pieces are seldom longer than a
// line.
inline constexpr size_t kMaxPieceBytes = 1024;

struct NormalizerSpec {
  std::string name = {};
  std::string charsmap =
      {};  // precompiled_charsmap: u32 size, double-array trie, NUL-terminated replacements; empty: identity
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;  // trainer_spec.treat_whitespace_as_suffix
};

struct SentencePieceModel {
  SentencePieceModel() = default;
  SentencePieceModel(SentencePieceModel&&) = default;
  SentencePieceModel(const SentencePieceModel&) = delete;

  std::vector<SentencePiece> pieces;  // index = id; texts are distinct
  TextIndex ids;                      // of the pieces, whose texts it refers to: hence not copied
  NormalizerSpec normalizer;
  bool byte_fallback = false;
  int32_t unk_id = -1;                            // always present
  int32_t bos_id = -1, eos_id = -1, pad_id = -1;  // -1: none; the ids of the control pieces of those names
  std::string unk_surface = " \xE2\x81\x87 ";     // what the unknown piece decodes to
  int32_t byte_ids[256];                          // valid when byte_fallback
};

// Throws kModelInvalid (damaged or contradictory file), or kModelUnsupported (not a BPE model, or a
// denormaliser).
SentencePieceModel parse_sentencepiece_model(std::string_view bytes);

}  // namespace agentinfer
