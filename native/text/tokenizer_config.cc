#include "text/tokenizer_config.h"

#include <charconv>
#include <limits>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr std::string_view kRoles[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                       "sep_token", "cls_token", "mask_token"};

int64_t parse_id(std::string_view text, std::string_view what) {
  int64_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorCode::kModelInvalid, what, ": id \"", text, "\", expected a number");
  return id;
}

// A token is a string or an object with "content".
std::optional<std::string> content_of(const Json& json, std::string_view what) {
  if (json.is_null()) return std::nullopt;
  const Json* content = json.is_object() ? json.find("content") : &json;
  if (!content || !content->is_string())
    fail(ErrorCode::kModelInvalid, what, ": ", json.describe(),
         ", expected a string or an object with \"content\"");
  return std::string(content->as_string());
}

// Roles and flags of tokenizer_config.json or special_tokens_map.json. What an earlier file said stays.
void read_roles(const Json& root, std::string_view what, TokenizerConfig& config) {
  for (const std::string_view role : kRoles) {
    const Json* value = root.find(role);
    if (!value) continue;
    if (const std::optional<std::string> content =
            content_of(*value, std::string(what) + ": " + std::string(role)))
      config.roles.emplace(role, *content);
  }
  if (const Json* list = root.find("additional_special_tokens"); list && list->is_array())
    for (const Json& item : list->items())
      if (const auto content = content_of(item, std::string(what) + ": additional_special_tokens"))
        config.special.push_back(*content);
  const auto flag = [&](std::string_view key, std::optional<bool>& out) {
    const Json* value = root.find(key);
    if (!value || value->is_null() || out) return;
    if (!value->is_bool())
      fail(ErrorCode::kModelInvalid, what, ": ", key, ": ", value->describe(), ", expected a boolean");
    out = value->as_bool();
  };
  flag("add_bos_token", config.add_bos);
  flag("add_eos_token", config.add_eos);
}

const Json& object_root(const JsonDocument& document, std::string_view what) {
  if (!document.root().is_object())
    fail(ErrorCode::kModelInvalid, what, ": ", document.root().describe(), ", expected an object");
  return document.root();
}

void read_config(std::string_view text, TokenizerConfig& config, AddedTokenList& list) {
  constexpr std::string_view kWhat = "tokenizer_config.json";
  const JsonDocument document = parse_json(text, kWhat);
  const Json& root = object_root(document, kWhat);
  if (const Json* added = root.find("added_tokens_decoder"); added && !added->is_null())
    for (const JsonMember& member : added->members()) {
      const std::string what = std::string(kWhat) + ": added_tokens_decoder." + std::string(member.key);
      list.add(parse_added_token(member.value, parse_id(member.key, what), what), kWhat);
    }
  read_roles(root, kWhat, config);
}

void read_added(std::string_view text, AddedTokenList& list) {
  constexpr std::string_view kWhat = "added_tokens.json";
  const JsonDocument document = parse_json(text, kWhat);
  for (const JsonMember& member : object_root(document, kWhat).members()) {
    const int64_t id = member.value.as_int();
    if (member.key.empty() || id < 0 || id > std::numeric_limits<int32_t>::max())
      fail(ErrorCode::kModelInvalid, kWhat, ": \"", member.key, "\" with id ", id);
    list.add({.content = std::string(member.key), .id = static_cast<int32_t>(id)}, kWhat);
  }
}

}  // namespace

void AddedTokenList::add(AddedToken token, std::string_view what) {
  const auto [id, new_content] = by_content_.try_emplace(token.content, token.id);
  const auto [content, new_id] = by_id_.try_emplace(token.id, token.content);
  if (id->second != token.id || content->second != token.content)
    fail(ErrorCode::kModelInvalid, what, ": added token \"", token.content, "\" with id ", token.id,
         " contradicts an earlier one, \"", content->second, "\" with id ", id->second);
  if (new_content) tokens_.push_back(std::move(token));
}

AddedToken parse_added_token(const Json& json, int64_t id, std::string_view what) {
  if (id < 0 || id > std::numeric_limits<int32_t>::max())
    fail(ErrorCode::kModelInvalid, what, ": id ", id, " is out of range");
  const std::optional<std::string> content = content_of(json, what);
  if (!content || content->empty() || content->size() > 1024)
    fail(ErrorCode::kModelInvalid, what, ": content of 1 to 1024 bytes expected, got ", json.describe());
  AddedToken token{.content = *content, .id = static_cast<int32_t>(id)};
  const auto flag = [&](std::string_view key, bool& out) {
    if (const Json* value = json.find(key)) out = value->as_bool();
  };
  flag("special", token.special);
  token.normalized = !token.special;
  flag("lstrip", token.lstrip);
  flag("rstrip", token.rstrip);
  flag("single_word", token.single_word);
  flag("normalized", token.normalized);
  return token;
}

TokenizerConfig parse_tokenizer_config(const TokenizerFiles& files) {
  TokenizerConfig config;
  AddedTokenList list(config.added);
  if (files.tokenizer_config) read_config(*files.tokenizer_config, config, list);
  if (files.added_tokens) read_added(*files.added_tokens, list);
  if (files.special_tokens_map) {
    constexpr std::string_view kWhat = "special_tokens_map.json";
    const JsonDocument document = parse_json(*files.special_tokens_map, kWhat);
    read_roles(object_root(document, kWhat), kWhat, config);
  }
  return config;
}

}  // namespace agentinfer
