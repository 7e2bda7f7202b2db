#include "tensor/json.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <sstream>

#include "tensor/json_parser.h"

namespace agentinfer {

namespace {

[[noreturn]] void wrong_kind(std::string_view expected, const Json& value) {
  fail(ErrorCode::kModelInvalid, "expected ", expected, ", got ", json_kind_name(value.kind()), " ",
       value.describe());
}

// Cuts at a character border, so that a message stays valid UTF-8.
std::string shortened(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0u) == 0x80u) --limit;
  return std::string(text.substr(0, limit)) + "...";
}

void describe_into(const Json& value, std::string& out);

void describe_items(const Json& value, std::string& out) {
  out += '[';
  size_t count = 0;
  for (const Json& item : value.items()) {
    if (count != 0) out += ", ";
    if (++count > 4) {
      out += "...";
      break;
    }
    describe_into(item, out);
  }
  out += ']';
}

void describe_members(const Json& value, std::string& out) {
  out += '{';
  size_t count = 0;
  for (const JsonMember& member : value.members()) {
    if (count != 0) out += ", ";
    if (++count > 4) {
      out += "...";
      break;
    }
    out += json_quote(shortened(member.key, 24)) + ": ";
    describe_into(member.value, out);
  }
  out += '}';
}

void describe_into(const Json& value, std::string& out) {
  if (out.size() > 60) {
    out += "...";
    return;
  }
  switch (value.kind()) {
    case Json::Kind::kNull:
      out += "null";
      break;
    case Json::Kind::kBool:
      out += value.as_bool() ? "true" : "false";
      break;
    case Json::Kind::kInt:
      out += std::to_string(value.as_int());
      break;
    case Json::Kind::kDouble: {
      std::ostringstream text;
      text.imbue(std::locale::classic());
      text << value.as_double();
      out += text.str();
      break;
    }
    case Json::Kind::kString:
      out += json_quote(shortened(value.as_string(), 60));
      break;
    case Json::Kind::kArray:
      describe_items(value, out);
      break;
    case Json::Kind::kObject:
      describe_members(value, out);
      break;
  }
}

}  // namespace

std::string_view json_kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::kNull:
      return "null";
    case Json::Kind::kBool:
      return "boolean";
    case Json::Kind::kInt:
      return "integer";
    case Json::Kind::kDouble:
      return "number";
    case Json::Kind::kString:
      return "string";
    case Json::Kind::kArray:
      return "array";
    case Json::Kind::kObject:
      return "object";
  }
  return "?";
}

bool Json::as_bool() const {
  if (!is_bool()) wrong_kind("a boolean", *this);
  return bool_;
}

int64_t Json::as_int() const {
  if (!is_int()) wrong_kind("an integer", *this);
  return int_;
}

double Json::as_double() const {
  if (kind_ == Kind::kInt) return static_cast<double>(int_);
  if (kind_ != Kind::kDouble) wrong_kind("a number", *this);
  return double_;
}

std::string_view Json::as_string() const {
  if (!is_string()) wrong_kind("a string", *this);
  return {chars_, size_};
}

std::span<const Json> Json::items() const {
  if (!is_array()) wrong_kind("an array", *this);
  return {items_, size_};
}

std::span<const JsonMember> Json::members() const {
  if (!is_object()) wrong_kind("an object", *this);
  return {members_, size_};
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const JsonMember& member : members())
    if (member.key == key) return &member.value;
  return nullptr;
}

std::string Json::describe() const {
  std::string out;
  describe_into(*this, out);
  return shortened(out, 90);
}

JsonDocument parse_json(std::string_view text, std::string_view what) {
  if (text.size() > std::numeric_limits<uint32_t>::max())
    fail(ErrorCode::kModelInvalid, what, ": JSON text of ", text.size(), " bytes; expected less than 4 GiB");
  return JsonParser(text, what).parse();
}

std::string json_quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace agentinfer
