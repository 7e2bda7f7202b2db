#pragma once
// What a loaded Tokenizer holds, whichever family it is of. Filled by the loaders, constant afterwards.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/subword.h"
#include "text/text_index.h"
#include "text/tokenizer.h"

namespace agentinfer {

enum class TokenKind : uint8_t {
  kNothing,  // decodes to nothing: a control piece, a hole
  kText,     // decodes to `text`
  kBytes,    // byte-level: `text` joins the stream of bytes; SentencePiece: the one byte of a byte piece
  kUnknown,  // SentencePiece: decodes to the unknown surface
  kAdded,    // SentencePiece: decodes to its content, and the text after it begins anew
};

struct TokenEntry {
  std::string_view piece;  // as stored
  std::string_view text;   // what it decodes to; may be invalid UTF-8 where kind is kBytes
  TokenKind kind = TokenKind::kNothing;
  bool special = false;
};

// SentencePiece removes U+2581 from the beginning of a decoded text in two of its modes.
enum class LeadingSpace : uint8_t {
  kKeep,
  kDropFirst,  // add_dummy_prefix: of the first piece
  kDropAll,    // remove_extra_whitespaces: of every piece until one left text
};

struct TokenizerData {
  std::vector<TokenEntry> tokens;   // by id
  std::deque<std::string> strings;  // what the views in `tokens` refer to
  TextIndex ids;
  AddedTokens added;
  std::unique_ptr<SubwordEncoder> encoder;
  // Set when the vocabulary normalises text and has added tokens to be found in normalised text.
  std::string (*normalize)(std::string_view text) = nullptr;
  bool byte_level = false;
  LeadingSpace leading_space = LeadingSpace::kKeep;

  std::optional<int32_t> bos_id, eos_id, pad_id, unk_id;
  bool add_bos = false, add_eos = false;
  std::vector<int32_t> skipped;

  std::string_view keep(std::string text) { return strings.emplace_back(std::move(text)); }
};

std::unique_ptr<TokenizerData> load_sentencepiece(const TokenizerFiles& files);
std::unique_ptr<TokenizerData> load_byte_level(const TokenizerFiles& files);

struct TokenizerConfig;

// For the loaders: makes `tokens[id]` of every added token, and its markers known to `data.added`. Ids may
// lie beyond the vocabulary by at most their number, so that no file can name one that takes all memory.
// `kind`: how added tokens decode.
void install_added_tokens(TokenizerData& data, std::vector<AddedToken> added, TokenKind kind);
// Gives config.roles and config.special ids: a role that names a vocabulary piece that is not yet an added
// token becomes one. REQUIRES: data.ids holds the vocabulary. Throws kModelInvalid for a role whose token
// does not exist.
void resolve_roles(TokenizerData& data, TokenizerConfig& config);
// Sets bos, eos, pad and unk from the roles that are given. REQUIRES: added tokens are installed.
void assign_roles(TokenizerData& data, const TokenizerConfig& config);

}  // namespace agentinfer
