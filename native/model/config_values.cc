#include "model/config_values.h"

#include <algorithm>
#include <limits>

namespace agentinfer {

ConfigValues::ConfigValues(const Json& object, std::string what) : object_(object), what_(std::move(what)) {
  if (!object.is_object())
    fail(ErrorCode::kModelInvalid, what_, ": expected an object, got ", object.describe());
}

const Json* ConfigValues::find(std::string_view key) const {
  const Json* const value = object_.find(key);
  return value && !value->is_null() ? value : nullptr;
}

std::optional<int64_t> ConfigValues::integer(std::string_view key, int64_t least, int64_t most) const {
  const Json* const value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_int() || value->as_int() < least || value->as_int() > most)
    invalid(key, "must be an integer from ", least, " to ", most, ", got ", json_kind_name(value->kind()),
            " ", value->describe());
  return value->as_int();
}

std::optional<double> ConfigValues::number(std::string_view key, double above, double most) const {
  const Json* const value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number() || !(value->as_double() > above) || value->as_double() > most)
    invalid(key, "must be a number above ", above, " and at most ", most, ", got ",
            json_kind_name(value->kind()), " ", value->describe());
  return value->as_double();
}

std::optional<bool> ConfigValues::boolean(std::string_view key) const {
  const Json* const value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_bool())
    invalid(key, "must be true or false, got ", json_kind_name(value->kind()), " ", value->describe());
  return value->as_bool();
}

std::optional<std::string_view> ConfigValues::string(std::string_view key) const {
  const Json* const value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string())
    invalid(key, "must be a string, got ", json_kind_name(value->kind()), " ", value->describe());
  return value->as_string();
}

std::optional<int32_t> ConfigValues::token_id(std::string_view key, int64_t vocab_size) const {
  const Json* const value = find(key);
  if (value && value->is_int() && value->as_int() == -1) return std::nullopt;
  const std::optional<int64_t> id = integer(key, 0, vocab_size - 1);
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

std::vector<int32_t> ConfigValues::token_ids(std::string_view key, int64_t vocab_size) const {
  const Json* const value = find(key);
  if (!value) return {};
  if (!value->is_array()) {
    const std::optional<int32_t> id = token_id(key, vocab_size);
    return id ? std::vector{*id} : std::vector<int32_t>{};
  }
  if (value->items().size() > 1024) invalid(key, "must hold at most 1024 ids, got ", value->items().size());
  std::vector<int32_t> ids;
  for (const Json& item : value->items()) {
    if (!item.is_int() || item.as_int() < 0 || item.as_int() >= vocab_size)
      invalid(key, "must hold integers from 0 to ", vocab_size - 1, ", got ", json_kind_name(item.kind()),
              " ", item.describe());
    const auto id = static_cast<int32_t>(item.as_int());
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

}  // namespace agentinfer
