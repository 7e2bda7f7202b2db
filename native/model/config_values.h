#pragma once
// Typed, range-checked access to the keys of one configuration object. A null value counts as an absent key,
// as it does in the library that writes these files.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/check.h"
#include "tensor/json.h"

namespace agentinfer {

// Borrows its object. Every function throws kModelInvalid with the key, what was expected and what is there.
class ConfigValues {
 public:
  // `what` is put before the key in messages: "config.json" or "config.json: rope_scaling".
  ConfigValues(const Json& object, std::string what);

  const Json* find(std::string_view key) const;  // nullptr for absent or null
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most) const;
  std::optional<double> number(std::string_view key, double above,
                               double most) const;  // above < value <= most
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  std::vector<int32_t> token_ids(std::string_view key,
                                 int64_t vocab_size) const;  // an integer or an array of them
  std::optional<int32_t> token_id(std::string_view key, int64_t vocab_size) const;  // -1 counts as absent

  template <typename T>
  T required(std::string_view key, const std::optional<T>& value) const {
    if (!value) invalid(key, "is missing");
    return *value;
  }

  template <typename... Parts>
  [[noreturn]] void invalid(std::string_view key, Parts&&... parts) const {
    fail(ErrorCode::kModelInvalid, what_, ": ", json_quote(key), " ", std::forward<Parts>(parts)...);
  }
  template <typename... Parts>
  [[noreturn]] void unsupported(std::string_view key, Parts&&... parts) const {
    fail(ErrorCode::kModelUnsupported, what_, ": ", json_quote(key), " ", std::forward<Parts>(parts)...);
  }

  const Json& object() const { return object_; }
  const std::string& what() const { return what_; }

 private:
  const Json object_;
  const std::string what_;
};

}  // namespace agentinfer
