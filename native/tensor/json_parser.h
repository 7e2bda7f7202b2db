#pragma once
// The recursive descent behind parse_json; nobody else includes this. One object parses one text once.

#include <cstddef>
#include <string_view>
#include <vector>

#include "tensor/json.h"

namespace agentinfer {

class JsonParser {
 public:
  JsonParser(std::string_view text, std::string_view what)
      : what_(what), begin_(text.data()), at_(text.data()), end_(text.data() + text.size()) {}

  JsonDocument parse();

 private:
  Json value(int depth);
  Json array(int depth);
  Json object(int depth);
  Json number();
  Json literal(std::string_view word, Json result);
  std::string_view string();

  const char* end_of_string();         // validates up to the closing quote and returns its place
  void check_escape(const char*& at);  // `at` on the backslash; moves past the escape
  void check_utf8(const char*& at);    // `at` on a byte above 0x7f; moves past the character
  size_t unescape(const char* from, const char* to, char* out);
  uint32_t hex4(const char* at);  // the four digits at `at`
  void reject_duplicates(std::span<const JsonMember> members, const char* place);

  void skip_space();
  bool take(char c);
  void skip_digits(const char* expected);
  std::byte* allocate(size_t bytes, size_t alignment);
  template <typename T>
  const T* store(const std::vector<T>& stack, size_t from);  // moves stack[from, end) into the document

  [[noreturn]] void error(const char* place, std::string_view expected);

  std::string_view what_;
  const char* begin_;
  const char* at_;
  const char* end_;
  JsonDocument document_;
  std::byte* free_ = nullptr;  // free part of the newest chunk
  size_t free_bytes_ = 0;
  size_t next_chunk_ = 4096;
  std::vector<Json> values_;         // open arrays' values, innermost last
  std::vector<JsonMember> members_;  // open objects' members, innermost last
};

}  // namespace agentinfer
