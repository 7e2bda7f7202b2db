#include "text/sentencepiece_model.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tensor/check.h"
#include "text/protobuf.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

constexpr int32_t kBpe = 2;  // TrainerSpec.ModelType

// The parts of TrainerSpec and ModelProto that are needed only while checking.
struct TrainerFacts {
  int32_t model_type = 1;  // UNIGRAM is the proto's default
  std::string bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
};

SentencePiece parse_piece(std::string_view bytes, size_t id) {
  SentencePiece piece;
  ProtobufReader reader(bytes, "tokenizer.model: piece");
  while (reader.next()) {
    if (reader.field() == 1) {
      piece.text = reader.bytes();
    } else if (reader.field() == 2) {
      piece.score = reader.float32();
    } else if (reader.field() == 3) {
      const int32_t type = reader.int32();
      if (type < 1 || type > 6)
        fail(ErrorCode::kModelInvalid, "tokenizer.model: piece ", id, ": type ", type, ", expected 1 to 6");
      piece.type = static_cast<PieceType>(type);
    }
  }
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes)
    fail(ErrorCode::kModelInvalid, "tokenizer.model: piece ", id, ": ", piece.text.size(),
         " bytes, expected 1 to ", kMaxPieceBytes);
  if (!is_valid_utf8(piece.text))
    fail(ErrorCode::kModelInvalid, "tokenizer.model: piece ", id, " is not valid UTF-8");
  if (!std::isfinite(piece.score))
    fail(ErrorCode::kModelInvalid, "tokenizer.model: piece ", id, ": score ", piece.score, " is not finite");
  return piece;
}

void parse_trainer_spec(std::string_view bytes, SentencePieceModel& model, TrainerFacts& facts) {
  ProtobufReader reader(bytes, "tokenizer.model: trainer_spec");
  while (reader.next()) {
    switch (reader.field()) {
      case 3:
        facts.model_type = reader.int32();
        break;
      case 24:
        model.normalizer.whitespace_as_suffix = reader.boolean();
        break;
      case 35:
        model.byte_fallback = reader.boolean();
        break;
      case 44:
        model.unk_surface = reader.bytes();
        break;
      case 46:
        facts.bos_piece = reader.bytes();
        break;
      case 47:
        facts.eos_piece = reader.bytes();
        break;
      case 48:
        facts.pad_piece = reader.bytes();
        break;
      default:
        break;
    }
  }
}

void parse_normalizer_spec(std::string_view bytes, NormalizerSpec& spec) {
  ProtobufReader reader(bytes, "tokenizer.model: normalizer_spec");
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        spec.name = reader.bytes();
        break;
      case 2:
        spec.charsmap = reader.bytes();
        break;
      case 3:
        spec.add_dummy_prefix = reader.boolean();
        break;
      case 4:
        spec.remove_extra_whitespaces = reader.boolean();
        break;
      case 5:
        spec.escape_whitespaces = reader.boolean();
        break;
      default:
        break;
    }
  }
}

// "<0x0A>" to 10.
std::optional<int> byte_of_piece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const size_t high = kDigits.find(text[3]), low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<int>(high * 16 + low);
}

void index_byte_piece(SentencePieceModel& model, int32_t id) {
  const std::optional<int> byte = byte_of_piece(model.pieces[id].text);
  if (!byte) fail(ErrorCode::kModelInvalid, "tokenizer.model: byte piece ", id, " is not of the form <0x0A>");
  if (!model.byte_fallback)
    fail(ErrorCode::kModelInvalid, "tokenizer.model: byte piece ", id, " in a model without byte_fallback");
  model.byte_ids[*byte] = id;
}

void check_and_index(SentencePieceModel& model, const TrainerFacts& facts) {
  model.ids.reserve(model.pieces.size());
  std::fill(std::begin(model.byte_ids), std::end(model.byte_ids), -1);
  for (int32_t id = 0; id < static_cast<int32_t>(model.pieces.size()); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (!model.ids.insert(piece.text, id))
      fail(ErrorCode::kModelInvalid, "tokenizer.model: pieces ", model.ids.find(piece.text), " and ", id,
           " are the same text");
    if (piece.type == PieceType::kUnknown) {
      if (model.unk_id >= 0)
        fail(ErrorCode::kModelInvalid, "tokenizer.model: two unknown pieces, ", model.unk_id, " and ", id);
      model.unk_id = id;
    }
    if (piece.type == PieceType::kByte) index_byte_piece(model, id);
  }
  if (model.unk_id < 0) fail(ErrorCode::kModelInvalid, "tokenizer.model: no piece of type unknown");
  if (model.byte_fallback)
    for (int byte = 0; byte < 256; ++byte)
      if (model.byte_ids[byte] < 0)
        fail(ErrorCode::kModelInvalid, "tokenizer.model: byte_fallback without a piece for byte ", byte);
  const auto control_id = [&](const std::string& text) {
    const int32_t id = model.ids.find(text);
    return id >= 0 && model.pieces[id].type == PieceType::kControl ? id : -1;
  };
  model.bos_id = control_id(facts.bos_piece);
  model.eos_id = control_id(facts.eos_piece);
  model.pad_id = control_id(facts.pad_piece);
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes) {
  SentencePieceModel model;
  TrainerFacts facts;
  NormalizerSpec denormalizer;
  ProtobufReader reader(bytes, "tokenizer.model");
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        model.pieces.push_back(parse_piece(reader.bytes(), model.pieces.size()));
        break;
      case 2:
        parse_trainer_spec(reader.bytes(), model, facts);
        break;
      case 3:
        parse_normalizer_spec(reader.bytes(), model.normalizer);
        break;
      case 5:
        parse_normalizer_spec(reader.bytes(), denormalizer);
        break;
      default:
        break;
    }
  }
  if (model.pieces.empty())
    fail(ErrorCode::kModelInvalid, "tokenizer.model: no pieces in ", bytes.size(), " bytes");
  if (facts.model_type != kBpe)
    fail(ErrorCode::kModelUnsupported, "tokenizer.model: trainer_spec.model_type ", facts.model_type,
         ", expected ", kBpe, " (BPE)");
  if (!is_valid_utf8(model.unk_surface))
    fail(ErrorCode::kModelInvalid, "tokenizer.model: unk_surface is not valid UTF-8");
  if (!denormalizer.charsmap.empty())
    fail(ErrorCode::kModelUnsupported, "tokenizer.model: denormalizer_spec with a character map");
  check_and_index(model, facts);
  return model;
}

}  // namespace agentinfer
