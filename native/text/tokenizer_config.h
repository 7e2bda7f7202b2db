#pragma once
// What tokenizer_config.json, special_tokens_map.json and added_tokens.json say: added tokens and the roles
// of some of them.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tensor/json.h"
#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace agentinfer {

struct TokenizerConfig {
  std::vector<AddedToken> added;             // with ids; contents and ids are distinct
  std::map<std::string, std::string> roles;  // "bos_token" -> "<s>"; bos, eos, unk, pad, sep, cls, mask
  std::vector<std::string> special;          // additional_special_tokens
  std::optional<bool> add_bos, add_eos;
};

// Fills a list of added tokens and keeps ids and contents distinct.
class AddedTokenList {
 public:
  explicit AddedTokenList(std::vector<AddedToken>& tokens) : tokens_(tokens) {}
  // The first mention of a token counts; throws kModelInvalid when another says something else. `what` names
  // the file.
  void add(AddedToken token, std::string_view what);

 private:
  std::vector<AddedToken>& tokens_;
  std::unordered_map<std::string, int32_t> by_content_;
  std::unordered_map<int32_t, std::string> by_id_;
};

// Throws kModelInvalid on damaged or contradictory files.
TokenizerConfig parse_tokenizer_config(const TokenizerFiles& files);

// One added token from its JSON object (an entry of added_tokens_decoder, or of tokenizer.json's
// added_tokens). `what` names it.
AddedToken parse_added_token(const Json& json, int64_t id, std::string_view what);

}  // namespace agentinfer
