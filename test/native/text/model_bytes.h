#pragma once
// Writes small SentencePiece models, for tests.

#include <cstring>
#include <string>
#include <vector>

#include "text/sentencepiece_model.h"

namespace model_bytes {

inline void put_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

inline void put_bytes(uint32_t field, const std::string& bytes, std::string& out) {
  put_varint(field << 3 | 2, out);
  put_varint(bytes.size(), out);
  out += bytes;
}

inline void put_number(uint32_t field, uint64_t value, std::string& out) {
  put_varint(field << 3, out);
  put_varint(value, out);
}

inline std::string piece(const agentinfer::SentencePiece& piece) {
  std::string out;
  put_bytes(1, piece.text, out);
  put_varint(2 << 3 | 5, out);
  char raw[4];
  std::memcpy(raw, &piece.score, 4);
  out.append(raw, 4);
  put_number(3, static_cast<uint64_t>(piece.type), out);
  return out;
}

inline std::string model(const std::vector<agentinfer::SentencePiece>& pieces,
                         const agentinfer::NormalizerSpec& spec, bool byte_fallback,
                         uint64_t model_type = 2) {
  std::string out, trainer, normalizer;
  for (const auto& each : pieces) put_bytes(1, piece(each), out);
  put_number(3, model_type, trainer);
  put_number(24, spec.whitespace_as_suffix, trainer);
  put_number(35, byte_fallback, trainer);
  put_bytes(2, trainer, out);
  if (!spec.charsmap.empty()) put_bytes(2, spec.charsmap, normalizer);
  put_number(3, spec.add_dummy_prefix, normalizer);
  put_number(4, spec.remove_extra_whitespaces, normalizer);
  put_number(5, spec.escape_whitespaces, normalizer);
  put_bytes(3, normalizer, out);
  return out;
}

}  // namespace model_bytes
