#pragma once
// The reference values beside each tiny checkpoint (test/fixtures/checkpoints/make_checkpoints.py).

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tensor/json.h"

namespace golden {

inline std::filesystem::path folder(const std::string& name) {
  return std::filesystem::path(AGENTINFER_FIXTURES) / "checkpoints" / name;
}

struct Golden {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<float>> logits;  // behind each prompt
  struct Inner {
    int prompt = 0, position = 0;
    std::vector<float> logits;
  };
  std::vector<Inner> inner;
  std::vector<std::vector<int32_t>> greedy;
};

inline std::vector<float> floats(std::string_view base64) {
  std::string bytes;
  uint32_t bits = 0;
  int have = 0;
  for (char c : base64) {
    const char* alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char* at = std::strchr(alphabet, c);
    if (c == '=' || at == nullptr) break;
    bits = bits << 6 | static_cast<uint32_t>(at - alphabet);
    have += 6;
    if (have >= 8) bytes.push_back(static_cast<char>(bits >> (have -= 8)));
  }
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

inline std::vector<int32_t> ids(const agentinfer::Json& list) {
  std::vector<int32_t> values;
  for (const agentinfer::Json& item : list.items()) values.push_back(static_cast<int32_t>(item.as_int()));
  return values;
}

inline Golden read(const std::string& name) {
  std::ifstream file(folder(name) / "golden.json");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const agentinfer::JsonDocument document = agentinfer::parse_json(text, "golden.json");
  Golden golden;
  for (const agentinfer::Json& prompt : document.root().find("prompts")->items())
    golden.prompts.push_back(ids(prompt));
  for (const agentinfer::Json& values : document.root().find("logits")->items())
    golden.logits.push_back(floats(values.as_string()));
  for (const agentinfer::Json& tokens : document.root().find("greedy")->items())
    golden.greedy.push_back(ids(tokens));
  for (const agentinfer::Json& entry : document.root().find("inner")->items()) {
    const auto items = entry.items();
    golden.inner.push_back({static_cast<int>(items[0].as_int()), static_cast<int>(items[1].as_int()),
                            floats(items[2].as_string())});
  }
  return golden;
}

}  // namespace golden
