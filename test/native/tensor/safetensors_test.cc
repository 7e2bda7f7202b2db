#include "tensor/safetensors.h"

#include "check.h"
#include "temp_folder.h"
#include "tensor/safetensors_writer.h"

namespace agentinfer {
namespace {

constexpr ErrorCode kBad = ErrorCode::kModelInvalid;

SafetensorsIndex parse(const std::string& text) {
  return parse_safetensors(std::as_bytes(std::span(text)), "file");
}

// One I8 tensor "a" of 8 bytes with the given fields, in a header padded to a multiple of 8.
std::string one(std::string fields, size_t data = 8) {
  std::string header = "{\"a\": {" + fields + "}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return check::safetensors_text(header, std::string(data, 'd'));
}

TEST("a written file reads back: names, types, shapes, bytes, metadata, alignment") {
  const check::TempFolder folder;
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    static constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8,
                                       DType::kU8,  DType::kI32, DType::kI64};
    std::vector<TensorSpec> specs;
    std::vector<std::string> contents;
    for (uint32_t i = random() % 9; i > 0; --i) {
      TensorSpec spec{"t\"é" + std::to_string(i), kTypes[random() % 7], {}};
      for (uint32_t rank = random() % 4; rank > 0; --rank) spec.shape.push_back(random() % 6);
      std::string content(spec.bytes(), ' ');
      for (char& c : content) c = static_cast<char>(random());
      specs.push_back(spec);
      contents.push_back(content);
    }
    const auto path = folder / "x.safetensors";
    SafetensorsWriter writer(path, specs, {{"format", "pt"}, {"k", "\"v\"\n"}});
    for (size_t i = specs.size(); i-- > 0;) {  // any order, in two pieces
      const auto bytes = std::as_bytes(std::span(contents[i]));
      writer.write(i, bytes.first(bytes.size() / 3));
      writer.write(i, bytes.subspan(bytes.size() / 3));
    }
    writer.finish();
    SafetensorsFile first(path);
    const SafetensorsFile file(std::move(first));
    CHECK_EQ(file.tensors().size(), specs.size());
    CHECK_EQ(file.metadata()[1].second, "\"v\"\n");
    for (size_t i = 0; i < specs.size(); ++i) {
      const TensorView* const tensor = file.find(specs[i].name);
      CHECK(tensor != nullptr);
      if (!tensor) continue;
      CHECK(tensor->dtype == specs[i].dtype);
      CHECK(tensor->shape == specs[i].shape);
      CHECK(std::memcmp(tensor->data.data(), contents[i].data(), contents[i].size()) == 0);
      CHECK_EQ(tensor->data.size(), contents[i].size());
      CHECK_EQ(reinterpret_cast<uintptr_t>(tensor->data.data()) % dtype_size(tensor->dtype), 0u);
    }
    CHECK(file.find("absent") == nullptr);
  }
}

TEST("an unfinished or half-written file does not stay") {
  const check::TempFolder folder;
  const auto path = folder / "x.safetensors";
  {
    SafetensorsWriter writer(path, {{"a", DType::kI8, {4}}});
    CHECK(std::filesystem::exists(path));
    writer.write(0, std::as_bytes(std::span("abc", 3)));
    CHECK_THROWS(writer.finish(), ErrorCode::kInvalidArgument, "tensor a: 3 of 4 bytes");
    CHECK_THROWS(writer.write(0, std::as_bytes(std::span("de", 2))), ErrorCode::kInvalidArgument,
                 "more than its 4");
  }
  CHECK(!std::filesystem::exists(path));
  CHECK_THROWS(SafetensorsWriter(path, {{"a", DType::kI8, {1}}, {"a", DType::kI8, {1}}}),
               ErrorCode::kInvalidArgument, "twice");
  CHECK_THROWS(SafetensorsWriter(path, {{"a", DType::kI64, {INT64_MAX, 3}}}), ErrorCode::kInvalidArgument,
               "cannot be stored");
  CHECK_THROWS(SafetensorsWriter(folder / "no" / "x", {}), ErrorCode::kIo, "cannot create");
}

TEST("header lengths beyond the file, the limit or reason are refused") {
  CHECK_THROWS(parse(""), kBad, "too few");
  CHECK_THROWS(parse("1234567"), kBad, "too few");
  CHECK_THROWS(parse(std::string("\x09\0\0\0\0\0\0\0{}      ", 16)), kBad, "cut short");
  CHECK_THROWS(parse(std::string(8, '\xff') + "{}"), kBad, "at most 100000000");
  CHECK_THROWS(parse(std::string("\0\0\0\0\0\0\0\x80{}", 10)), kBad, "at most 100000000");
  CHECK_THROWS(parse(check::safetensors_text(" {}", "")), kBad, "begin with '{'");
  CHECK_THROWS(parse(check::safetensors_text("", "{}")), kBad, "begin with '{'");
  CHECK_THROWS(parse(check::safetensors_text("{}x", "")), kBad, "file: header: line 1");
  CHECK_THROWS(parse(check::safetensors_text("{}", "d")), kBad, "cover 0 of 1 bytes");
  CHECK_EQ(parse(check::safetensors_text("{}      ", "")).tensors.size(), 0u);
}

TEST("fields of the wrong kind, range or name are refused, naming the tensor") {
  const std::string dtype = R"("dtype": "I8")", shape = R"(, "shape": [8])",
                    offsets = R"(, "data_offsets": [0, 8])";
  CHECK_EQ(parse(one(dtype + shape + offsets)).tensors[0].data.size(), 8u);
  CHECK_THROWS(parse(one(dtype + shape)), kBad, "tensor \"a\": \"data_offsets\" is missing");
  CHECK_THROWS(parse(one(R"("x": 1)" + offsets)), kBad, "unknown field \"x\"");
  CHECK_THROWS(parse(one(R"("dtype": 8)" + shape + offsets)), kBad, "expected a string, got 8");
  CHECK_THROWS(parse(one(R"("dtype": "F8_E4M3")" + shape + offsets)), ErrorCode::kModelUnsupported,
               "\"a\": dtype \"F8_E4M3\"");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": 8)" + offsets)), kBad, "\"shape\": expected an array, got 8");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": [-8])" + offsets)), kBad, "at least 0, got -8");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": [8.0])" + offsets)), kBad, "at least 0, got 8");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": [7])" + offsets)), kBad, "needs 7 bytes");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": [9223372036854775807, 9223372036854775807, 0])" + offsets)),
               kBad, "overflows");
  CHECK_THROWS(parse(one(dtype + R"(, "shape": [4294967296, 4294967296])" + offsets)), kBad, "overflows");
  CHECK_THROWS(parse(one(dtype + shape + R"(, "data_offsets": [0])")), kBad, "expected 2 integers");
  CHECK_THROWS(parse(one(dtype + shape + R"(, "data_offsets": [8, 0])")), kBad, "do not lie");
  CHECK_THROWS(parse(one(dtype + shape + R"(, "data_offsets": [0, 9])")), kBad, "do not lie");
  CHECK_THROWS(parse(one(dtype + shape + R"(, "data_offsets": [0, 9223372036854775807])")), kBad,
               "do not lie");
  CHECK_THROWS(parse(one(dtype + shape + R"(, "data_offsets": [0, 18446744073709551615])")), kBad,
               "at least 0");
  CHECK_THROWS(parse(check::safetensors_text(R"({"a": 1})", "")), kBad, "expected an object, got 1");
  CHECK_THROWS(parse(check::safetensors_text(R"({"__metadata__": {"a": 1}})", "")), kBad,
               "expected a string, got 1");
  CHECK_THROWS(parse(check::safetensors_text(R"({"__metadata__": []})", "")), kBad,
               "__metadata__: expected an object");
}

TEST("holes, overlaps, repeats and misaligned data are refused") {
  const auto two = [](const std::string& a, const std::string& b, const std::string& key = "b") {
    return check::safetensors_text(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":)" + a + R"(},")" + key +
                                       R"(":{"dtype":"I8","shape":[4],"data_offsets":)" + b + "}}",
                                   "12345678");
  };
  CHECK_EQ(parse(two("[4,8]", "[0,4]")).tensors[0].name, "b");
  CHECK_THROWS(parse(two("[0,4]", "[3,7]")), kBad, "\"b\": data begins at offset 3, inside");
  CHECK_THROWS(parse(two("[0,4]", "[0,4]")), kBad, "inside");
  CHECK_THROWS(parse(two("[0,4]", "[4,8]", "a")), kBad, "\"a\" occurs twice");
  CHECK_THROWS(
      parse(check::safetensors_text(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[1,5]}})", "12345")),
      kBad, "hole");
  CHECK_THROWS(
      parse(check::safetensors_text(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})", "12345")),
      kBad, "cover 4 of 5");
  CHECK_THROWS(
      parse(check::safetensors_text(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234")),
      kBad, "multiple of the element size 4");
}

TEST("an absent file is an I/O error, a damaged one names its path") {
  const check::TempFolder folder;
  CHECK_THROWS(SafetensorsFile(folder / "none.safetensors"), ErrorCode::kIo, "none.safetensors: cannot open");
  CHECK_THROWS(SafetensorsFile(folder.write("bad.safetensors", "0123456789")), kBad,
               "bad.safetensors: header");
}

// Reads every byte of every tensor, so that the sanitizer sees a view that leaves the file.
unsigned touch(const SafetensorsIndex& index, std::string_view file) {
  unsigned sum = 0;
  for (const TensorView& tensor : index.tensors) {
    CHECK_EQ(static_cast<uint64_t>(tensor.elements()) * dtype_size(tensor.dtype), tensor.data.size());
    if (tensor.data.empty()) continue;
    const auto* const begin = reinterpret_cast<const char*>(tensor.data.data());
    CHECK(begin >= file.data() && begin + tensor.data.size() <= file.data() + file.size());
    for (const std::byte byte : tensor.data) sum += static_cast<unsigned>(byte);
  }
  return sum;
}

TEST("thousands of damaged files each parse within bounds or are refused") {
  const check::TempFolder folder;
  const auto path = folder / "seed.safetensors";
  SafetensorsWriter writer(path,
                           {{"w", DType::kBF16, {3, 5}},
                            {"s", DType::kF32, {4}},
                            {"q", DType::kI8, {2, 2, 2}},
                            {"z", DType::kI64, {0}}},
                           {{"format", "pt"}});
  for (size_t i = 0; i < 4; ++i)
    writer.write(i, std::vector<std::byte>(writer.tensors()[i].bytes(), std::byte{0x5a}));
  writer.finish();
  const std::string seed = check::read_file(path);
  const size_t seed_length = static_cast<unsigned char>(seed[0]) + 256u * static_cast<unsigned char>(seed[1]);
  const char* tokens[] = {"0",
                          "-1",
                          "9223372036854775807",
                          "18446744073709551616",
                          "1e9",
                          "[",
                          "]",
                          "{",
                          "}",
                          "\"",
                          ",",
                          ":",
                          "null",
                          "\"I64\"",
                          "\"BF16\"",
                          "\\u0000",
                          "\xff",
                          "[0,0]",
                          "4294967296",
                          " "};
  std::mt19937 random(5);
  int parsed = 0, refused = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string text = seed;
    for (uint32_t edit = 1 + random() % 3; edit > 0 && !text.empty(); --edit) {
      const size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
          break;
        case 1:
          text.resize(at);
          break;
        case 2:
          text[random() % std::min<size_t>(8, text.size())] = static_cast<char>(random());
          break;
        case 3:
          text.replace(at, random() % 4, tokens[random() % std::size(tokens)]);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 40));
          break;
      }
    }
    if (round % 2 == 0 && text.size() >= 8) {  // keep half of them past the first check
      const uint64_t length = std::min<uint64_t>(text.size() - 8, seed_length);
      for (int i = 0; i < 8; ++i) text[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
    }
    const std::string exact(text);  // no spare capacity behind the end
    try {
      touch(parse(exact), exact);
      ++parsed;
    } catch (const Error& error) {
      CHECK(error.code() == kBad || error.code() == ErrorCode::kModelUnsupported);
      ++refused;
    }
  }
  CHECK(parsed > 200);
  CHECK(refused > 4000);
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
