#pragma once
// What tokenizer_config.json, special_tokens_map.json and added_tokens.json say: added tokens and the roles of some of them.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace agentinfer {

struct TokenizerConfig {
  std::vector<AddedToken> added;             // with ids; contents and ids are distinct
  std::map<std::string, std::string> roles;  // "bos_token" -> "<s>"; bos, eos, unk, pad, sep, cls, mask
  std::vector<std::string> special;          // additional_special_tokens
  std::optional<bool> add_bos, add_eos;
};

// Throws kModelInvalid on damaged or contradictory files.
TokenizerConfig parse_tokenizer_config(const TokenizerFiles& files);

// One added token from its JSON object (an entry of added_tokens_decoder, or of tokenizer.json's added_tokens). `what` names it.
AddedToken parse_added_token(const class Json& json, int64_t id, std::string_view what);

}  // namespace agentinfer
