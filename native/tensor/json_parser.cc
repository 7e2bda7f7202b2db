#include "tensor/json_parser.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>
#include <locale>
#include <sstream>
#include <system_error>
#include <utility>

namespace agentinfer {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The nearest double of a number in JSON's grammar; infinity where it is out of range.
double double_from(const char* from, const char* to) {
#if defined(__cpp_lib_to_chars) && __cpp_lib_to_chars >= 201611L
  double result = 0;
  const auto [stop, status] = std::from_chars(from, to, result);
  if (status == std::errc() && stop == to) return result;
    // out of range: from_chars does not tell overflow from underflow, so fall through to a reader that does
#endif
  std::istringstream stream(std::string(from, to));
  stream.imbue(std::locale::classic());
  double slow = 0;
  stream >> slow;
  if (stream.fail()) return std::abs(slow) < 1 ? slow : HUGE_VAL;
  return slow;
}

}  // namespace

JsonDocument JsonParser::parse() {
  skip_space();
  document_.root_ = value(0);
  skip_space();
  if (at_ != end_) error(at_, "the end of the text");
  return std::move(document_);
}

Json JsonParser::value(int depth) {
  if (at_ == end_) error(at_, "a value");
  Json result;
  switch (*at_) {
    case '{':
      return object(depth);
    case '[':
      return array(depth);
    case '"': {
      const std::string_view chars = string();
      result.kind_ = Json::Kind::kString;
      result.chars_ = chars.data();
      result.size_ = static_cast<uint32_t>(chars.size());
      return result;
    }
    case 't':
    case 'f':
      result.kind_ = Json::Kind::kBool;
      result.bool_ = *at_ == 't';
      return literal(result.bool_ ? "true" : "false", result);
    case 'n':
      return literal("null", result);
    default:
      return number();
  }
}

Json JsonParser::literal(std::string_view word, Json result) {
  if (static_cast<size_t>(end_ - at_) < word.size() || std::string_view(at_, word.size()) != word)
    error(at_, "a value");
  at_ += word.size();
  return result;
}

Json JsonParser::array(int depth) {
  if (depth >= kJsonMaxDepth) error(at_, "at most 64 nested arrays and objects");
  ++at_;
  const size_t first = values_.size();
  skip_space();
  if (!take(']')) {
    do {
      skip_space();
      const Json item = value(depth + 1);
      values_.push_back(item);
      skip_space();
    } while (take(','));
    if (!take(']')) error(at_, "',' or ']' after an array element");
  }
  Json result;
  result.kind_ = Json::Kind::kArray;
  result.size_ = static_cast<uint32_t>(values_.size() - first);
  result.items_ = store(values_, first);
  values_.resize(first);
  return result;
}

Json JsonParser::object(int depth) {
  if (depth >= kJsonMaxDepth) error(at_, "at most 64 nested arrays and objects");
  const char* const opening = at_++;
  const size_t first = members_.size();
  skip_space();
  if (!take('}')) {
    do {
      skip_space();
      if (at_ == end_ || *at_ != '"') error(at_, "a key in double quotes");
      JsonMember member;
      member.key = string();
      skip_space();
      if (!take(':')) error(at_, "':' after a key");
      skip_space();
      member.value = value(depth + 1);
      members_.push_back(member);
      skip_space();
    } while (take(','));
    if (!take('}')) error(at_, "',' or '}' after an object member");
  }
  Json result;
  result.kind_ = Json::Kind::kObject;
  result.size_ = static_cast<uint32_t>(members_.size() - first);
  result.members_ = store(members_, first);
  reject_duplicates({result.members_, result.size_}, opening);
  members_.resize(first, JsonMember{});
  return result;
}

// Quadratic for a handful of keys; sorting by hash, then key, for more: no choice of keys makes it quadratic.
void JsonParser::reject_duplicates(std::span<const JsonMember> members, const char* place) {
  const auto report = [&](std::string_view key) {
    error(place, "distinct keys in this object, but " + json_quote(key.substr(0, 200)) + " occurs twice");
  };
  if (members.size() <= 8) {
    for (size_t i = 1; i < members.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (members[i].key == members[j].key) report(members[i].key);
    return;
  }
  using Hashed = std::pair<size_t, std::string_view>;
  std::vector<Hashed> keys;
  keys.reserve(members.size());
  for (const JsonMember& member : members)
    keys.emplace_back(std::hash<std::string_view>()(member.key), member.key);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) report(twice->second);
}

// number = [ "-" ] ( "0" / digit1-9 *digit ) [ "." 1*digit ] [ ("e" / "E") [ "+" / "-" ] 1*digit ]
Json JsonParser::number() {
  const char* const from = at_;
  take('-');
  if (at_ == end_ || !is_digit(*at_)) error(from, "a value");
  if (!take('0')) skip_digits("a digit");
  bool integer = true;
  if (take('.')) {
    integer = false;
    skip_digits("a digit after the decimal point");
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    integer = false;
    ++at_;
    if (!take('+')) take('-');
    skip_digits("a digit in the exponent");
  }
  Json result;
  if (integer && std::from_chars(from, at_, result.int_).ec == std::errc()) {
    result.kind_ = Json::Kind::kInt;
    return result;
  }
  result.kind_ = Json::Kind::kDouble;
  result.double_ = double_from(from, at_);
  if (!std::isfinite(result.double_)) error(from, "a number within the range of a double");
  return result;
}

void JsonParser::skip_digits(const char* expected) {
  if (at_ == end_ || !is_digit(*at_)) error(at_, expected);
  while (at_ != end_ && is_digit(*at_)) ++at_;
}

void JsonParser::skip_space() {
  while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
}

bool JsonParser::take(char c) {
  if (at_ == end_ || *at_ != c) return false;
  ++at_;
  return true;
}

std::byte* JsonParser::allocate(size_t bytes, size_t alignment) {
  const size_t misaligned = reinterpret_cast<uintptr_t>(free_) % alignment;
  const size_t padding = misaligned == 0 ? 0 : alignment - misaligned;
  if (bytes + padding > free_bytes_) {
    const size_t chunk = std::max(bytes, next_chunk_);
    document_.chunks_.push_back(std::unique_ptr<std::byte[]>(new std::byte[chunk]));
    next_chunk_ = std::min<size_t>(next_chunk_ * 2, 1 << 20);
    free_ = document_.chunks_.back().get();
    free_bytes_ = chunk;
    return allocate(bytes, alignment);
  }
  std::byte* const result = free_ + padding;
  free_ = result + bytes;
  free_bytes_ -= bytes + padding;
  return result;
}

template <typename T>
const T* JsonParser::store(const std::vector<T>& stack, size_t from) {
  const size_t count = stack.size() - from;
  if (count == 0) return nullptr;
  T* const place = reinterpret_cast<T*>(allocate(count * sizeof(T), alignof(T)));
  std::uninitialized_copy_n(stack.data() + from, count, place);
  return place;
}

void JsonParser::error(const char* place, std::string_view expected) {
  const auto line = 1 + std::count(begin_, place, '\n');
  const char* start = place;
  while (start != begin_ && start[-1] != '\n') --start;
  std::string got = "the end of the text";
  if (place != end_) {
    const auto byte = static_cast<unsigned char>(*place);
    got = byte >= 0x20 && byte < 0x7f ? std::string("'") + *place + "'" : "byte " + std::to_string(byte);
  }
  fail(ErrorCode::kModelInvalid, what_, ": line ", line, ", column ", place - start + 1, " (byte ",
       place - begin_, "): expected ", expected, ", got ", got);
}

}  // namespace agentinfer
