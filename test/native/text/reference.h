#pragma once
// Reads test/fixtures/tokenizers/*/reference.bin (format: reference.py there) and compares a tokenizer with
// it.

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "text/tokenizer.h"

namespace reference {

struct Entry {
  std::string text;
  std::vector<int32_t> special;  // ids with markers parsed
  std::vector<int32_t> plain;    // ids as plain text
  std::string decoded;           // of `special`
};

inline std::filesystem::path folder(const std::string& name) {
  return std::filesystem::path(AGENTINFER_FIXTURES) / "tokenizers" / name;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  agentinfer::ensure(file.good(), "cannot read ", path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string string(const std::string& same = {}) {
    const auto size = number<uint32_t>();
    return size == 0xFFFFFFFF ? same : std::string(take(size));
  }
  std::vector<int32_t> ids(uint16_t count) {
    std::vector<int32_t> out(count);
    for (int32_t& id : out) id = number<int32_t>();
    return out;
  }

 private:
  std::string_view take(size_t size) {
    agentinfer::ensure(size <= bytes_.size() - at_, "reference.bin is cut off");
    at_ += size;
    return std::string_view(bytes_).substr(at_ - size, size);
  }
  std::string bytes_;
  size_t at_ = 0;
};

struct Decode {
  std::vector<int32_t> ids;
  std::string text;
};

inline std::vector<Entry> read(const std::string& name, std::vector<Decode>* decodes = nullptr) {
  Reader reader(read_file(folder(name) / "reference.bin"));
  std::vector<Entry> entries(reader.number<uint32_t>());
  for (Entry& entry : entries) {
    entry.text = reader.string();
    entry.special = reader.ids(reader.number<uint16_t>());
    const auto count = reader.number<uint16_t>();
    entry.plain = count == 0xFFFF ? entry.special : reader.ids(count);
    entry.decoded = reader.string(entry.text);
  }
  std::vector<Decode> random(reader.number<uint32_t>());
  for (Decode& decode : random) {
    decode.ids = reader.ids(reader.number<uint16_t>());
    decode.text = reader.string();
  }
  if (decodes) *decodes = std::move(random);
  return entries;
}

inline std::string show(const std::string& text) {
  std::string out(1, '"');
  char hex[8];
  for (const char c : text.substr(0, 120)) {
    if (c >= ' ' && c < 0x7F) {
      out.push_back(c);
    } else {
      std::snprintf(hex, sizeof(hex), "\\x%02x", static_cast<uint8_t>(c));
      out += hex;
    }
  }
  return out + '"';
}

inline std::string show(const std::vector<int32_t>& ids) {
  std::string out;
  for (size_t i = 0; i < ids.size() && i < 60; ++i) out += std::to_string(ids[i]) + " ";
  return out;
}

inline void check_same(const Entry& entry, const std::vector<int32_t>& got,
                       const std::vector<int32_t>& expected, const char* what) {
  if (got != expected)
    check::report(what, 0, show(entry.text) + ": got " + show(got) + ", expected " + show(expected));
}

// Ids both ways and the decoded text; then the decoded text of random ids.
inline void check_all(const std::string& name, size_t at_least) {
  const auto tokenizer = agentinfer::Tokenizer::open(folder(name));
  std::vector<Decode> decodes;
  const std::vector<Entry> entries = read(name, &decodes);
  CHECK(entries.size() >= at_least);
  for (const Entry& entry : entries) {
    check_same(entry, tokenizer->encode(entry.text, true), entry.special, "markers parsed");
    check_same(entry, tokenizer->encode(entry.text, false), entry.plain, "plain");
    const std::string decoded = tokenizer->decode(entry.special);
    if (decoded != entry.decoded)
      check::report("decode", 0,
                    show(entry.text) + ": got " + show(decoded) + ", expected " + show(entry.decoded));
  }
  CHECK(decodes.size() >= 500);
  for (const Decode& decode : decodes) {
    const std::string decoded = tokenizer->decode(decode.ids);
    if (decoded != decode.text)
      check::report("decode", 0,
                    show(decode.ids) + ": got " + show(decoded) + ", expected " + show(decode.text));
  }
}

}  // namespace reference
