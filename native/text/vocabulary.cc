// What both loaders do with added tokens and special roles.

#include <algorithm>
#include <unordered_set>

#include "tensor/check.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_data.h"

namespace agentinfer {
namespace {

std::optional<int32_t> role_id(const TokenizerData& data, const TokenizerConfig& config, const char* role) {
  const auto found = config.roles.find(role);
  if (found == config.roles.end()) return std::nullopt;
  return data.ids.find(found->second);
}

}  // namespace

void install_added_tokens(TokenizerData& data, std::vector<AddedToken> added, TokenKind kind) {
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  const size_t last = data.tokens.size() + added.size();
  for (const AddedToken& token : added) {
    const auto id = static_cast<size_t>(token.id);
    if (id > last)
      fail(ErrorCode::kModelInvalid, "added token \"", token.content, "\": id ", id,
           " is far beyond the vocabulary, expected at most ", last);
    if (id >= data.tokens.size()) data.tokens.resize(id + 1);
    TokenEntry& entry = data.tokens[id];
    const std::string_view content = data.keep(token.content);
    if (entry.piece != content) {
      // The file renames a piece: the old text no longer means this id.
      if (data.ids.find(entry.piece) == token.id) data.ids.erase(entry.piece);
      entry.piece = content;
    }
    entry.text = token.normalized && data.normalize ? data.keep(data.normalize(content)) : content;
    entry.kind = kind;
    entry.special = entry.special || token.special;
    data.ids.assign(content, token.id);
  }
  data.added = AddedTokens(std::move(added), data.normalize);
}

void resolve_roles(TokenizerData& data, TokenizerConfig& config) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : config.added) known.insert(token.content);
  const auto resolve = [&](const std::string& role, const std::string& content) {
    if (!known.insert(content).second) return;
    const int32_t id = data.ids.find(content);
    if (id < 0 || content.empty())
      fail(ErrorCode::kModelInvalid, "tokenizer_config.json: ", role, " is \"", content,
           "\", which is not in the vocabulary");
    config.added.push_back({.content = content, .id = id, .special = true});
  };
  for (const auto& [role, content] : config.roles) resolve(role, content);
  for (const std::string& content : config.special) resolve("additional_special_tokens", content);
}

void assign_roles(TokenizerData& data, const TokenizerConfig& config) {
  if (const auto id = role_id(data, config, "bos_token")) data.bos_id = id;
  if (const auto id = role_id(data, config, "eos_token")) data.eos_id = id;
  if (const auto id = role_id(data, config, "pad_token")) data.pad_id = id;
  if (const auto id = role_id(data, config, "unk_token")) data.unk_id = id;
}

}  // namespace agentinfer
