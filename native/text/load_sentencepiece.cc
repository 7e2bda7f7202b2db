// A Tokenizer from tokenizer.model and the JSON files beside it.

#include <algorithm>

#include "text/sentencepiece_bpe.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_data.h"

namespace agentinfer {
namespace {

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (size_t at = 0; at < piece.size();) {
    const size_t found = std::min(piece.find(kSpaceSymbol, at), piece.size());
    text.append(piece.substr(at, found - at));
    if (found < piece.size()) text.push_back(' ');
    at = found + kSpaceSymbol.size();
  }
  return text;
}

void install_pieces(TokenizerData& data, const SentencePieceModel& model) {
  data.tokens.resize(model.pieces.size());
  data.ids.reserve(model.pieces.size());
  const std::string_view unk_surface = data.keep(model.unk_surface);
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    TokenEntry& entry = data.tokens[id];
    entry.piece = data.keep(piece.text);
    entry.special = piece.type == PieceType::kControl || piece.type == PieceType::kUnknown;
    data.ids.insert(entry.piece, static_cast<int32_t>(id));
    switch (piece.type) {
      case PieceType::kControl:
        entry.kind = TokenKind::kNothing;
        break;
      case PieceType::kUnknown:
        entry.kind = TokenKind::kUnknown;
        entry.text = unk_surface;
        break;
      case PieceType::kByte:
        entry.kind = TokenKind::kBytes;
        break;
      default:
        entry.kind = TokenKind::kText;
        entry.text = piece.text.find(kSpaceSymbol) == std::string::npos ? entry.piece
                                                                        : data.keep(with_spaces(piece.text));
    }
  }
  if (!model.byte_fallback) return;
  for (int byte = 0; byte < 256; ++byte)
    data.tokens[model.byte_ids[byte]].text = data.keep(std::string(1, static_cast<char>(byte)));
}

std::optional<int32_t> some(int32_t id) {
  return id < 0 ? std::nullopt : std::optional(id);
}

}  // namespace

std::unique_ptr<TokenizerData> load_sentencepiece(const TokenizerFiles& files) {
  const SentencePieceModel model = parse_sentencepiece_model(*files.tokenizer_model);
  TokenizerConfig config = parse_tokenizer_config(files);
  auto data = std::make_unique<TokenizerData>();
  install_pieces(*data, model);
  resolve_roles(*data, config);
  // The slow tokenizers of this family look for added tokens in the text as given, whatever `normalized`
  // says.
  for (AddedToken& token : config.added) token.normalized = false;
  install_added_tokens(*data, config.added, TokenKind::kAdded);

  data->bos_id = some(model.bos_id);
  data->eos_id = some(model.eos_id);
  data->pad_id = some(model.pad_id);
  data->unk_id = model.unk_id;
  assign_roles(*data, config);
  data->add_bos = config.add_bos.value_or(true) && data->bos_id.has_value();
  data->add_eos = config.add_eos.value_or(false) && data->eos_id.has_value();
  for (const auto& id : {data->unk_id, data->bos_id, data->eos_id, data->pad_id})
    if (id) data->skipped.push_back(*id);
  for (const auto& [role, content] : config.roles) data->skipped.push_back(data->ids.find(content));
  std::sort(data->skipped.begin(), data->skipped.end());
  data->skipped.erase(std::unique(data->skipped.begin(), data->skipped.end()), data->skipped.end());

  if (model.normalizer.remove_extra_whitespaces)
    data->leading_space = LeadingSpace::kDropAll;
  else if (model.normalizer.add_dummy_prefix)
    data->leading_space = LeadingSpace::kDropFirst;

  std::vector<bool> markers(model.pieces.size());
  for (const AddedToken& token : config.added)
    if (static_cast<size_t>(token.id) < markers.size()) markers[token.id] = true;
  data->encoder = std::make_unique<SentencePieceBpe>(model, std::move(markers));
  return data;
}

}  // namespace agentinfer
