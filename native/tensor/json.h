#pragma once
// A strict, bounded JSON reader (RFC 8259) for model files: config.json, safetensors headers, tokenizer.json.
//
// Strict: UTF-8 validated, no byte order mark, no trailing text, no lone surrogates, no duplicate keys, no
// numbers beyond double's range, at most kJsonMaxDepth nested arrays and objects. Whatever the text, parsing
// takes O(n log n) time and memory proportional to the text, and either returns a document or throws
// kModelInvalid.
//
//   JsonDocument document = parse_json(text, "config.json");
//   const Json* layers = document.root().find("num_hidden_layers");
//   if (layers && layers->is_int()) use(layers->as_int());

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

struct JsonMember;

inline constexpr int kJsonMaxDepth = 64;

// One value, 16 bytes; a borrowed view into its JsonDocument (which must outlive it), freely copied. Reading
// is thread safe. as_* and items/members throw kModelInvalid, saying what was expected and what is there, on
// the wrong kind.
class Json {
 public:
  // kInt: written without fraction or exponent and within int64. Every other number is kDouble.
  enum class Kind : uint8_t { kNull, kBool, kInt, kDouble, kString, kArray, kObject };

  Json() = default;  // null

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_int() const { return kind_ == Kind::kInt; }
  bool is_number() const { return kind_ == Kind::kInt || kind_ == Kind::kDouble; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_array() const { return kind_ == Kind::kArray; }
  bool is_object() const { return kind_ == Kind::kObject; }

  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;                     // kDouble or kInt
  std::string_view as_string() const;           // unescaped UTF-8; may contain NUL
  std::span<const Json> items() const;          // array, in order
  std::span<const JsonMember> members() const;  // object, in the order of the text; keys are distinct

  // The value of `key`, or nullptr where it is absent or this is not an object. Linear: for an object with
  // many keys, walk members() once instead.
  const Json* find(std::string_view key) const;

  // The value as short text for messages, cut after about 60 characters: `"abc"`, `[1, 2, ...]`, `12`.
  std::string describe() const;

 private:
  friend class JsonParser;
  union {
    int64_t int_ = 0;
    double double_;
    bool bool_;
    const char* chars_;          // size_ bytes
    const Json* items_;          // size_ values
    const JsonMember* members_;  // size_ members
  };
  uint32_t size_ = 0;
  Kind kind_ = Kind::kNull;
};

struct JsonMember {
  std::string_view key;
  Json value;
};

std::string_view json_kind_name(
    Json::Kind kind);  // "null", "boolean", "integer", "number", "string", "array", "object"

// Owns every value and string of one parsed text. Moving it does not move the values. Does not refer to the
// text.
class JsonDocument {
 public:
  const Json& root() const { return root_; }

 private:
  friend class JsonParser;
  Json root_;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

// `what` names the text in messages: "<what>: line 3, column 5 (byte 40): expected ':' after a key, got '}'".
JsonDocument parse_json(std::string_view text, std::string_view what);

// `text` as a JSON string literal, quotes included. REQUIRES: valid UTF-8 (bytes above 0x7f are passed
// through).
std::string json_quote(std::string_view text);

}  // namespace agentinfer
