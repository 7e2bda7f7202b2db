#include "tensor/json.h"

#include "check.h"

namespace agentinfer {
namespace {

constexpr ErrorCode kBad = ErrorCode::kModelInvalid;

TEST("scalars keep their kind and exact value") {
  CHECK(parse_json("null", "t").root().is_null());
  CHECK(parse_json(" true ", "t").root().as_bool());
  CHECK(!parse_json("false", "t").root().as_bool());
  CHECK_EQ(parse_json("9223372036854775807", "t").root().as_int(), INT64_MAX);
  CHECK_EQ(parse_json("-9223372036854775808", "t").root().as_int(), INT64_MIN);
  const JsonDocument large = parse_json("9223372036854775808", "t");
  CHECK(large.root().kind() == Json::Kind::kDouble);
  CHECK_EQ(large.root().as_double(), 9223372036854775808.0);
  CHECK_EQ(parse_json("1000000000000000019884624838656", "t").root().as_double(), 1e30);
  CHECK_EQ(parse_json("1e-6", "t").root().as_double(), 1e-6);
  CHECK(!parse_json("1.0", "t").root().is_int());
  CHECK_EQ(parse_json("5", "t").root().as_double(), 5.0);
  CHECK_EQ(parse_json("1e-999", "t").root().as_double(), 0.0);
}

TEST("an object gives its members in order and finds them by key") {
  const JsonDocument document = parse_json(R"({"b": [1, 2.5, "x", {}, []], "a": {"n": null}})", "t");
  const Json& root = document.root();
  CHECK_EQ(root.members().size(), 2u);
  CHECK_EQ(root.members()[0].key, "b");
  CHECK_EQ(root.find("b")->items().size(), 5u);
  CHECK_EQ(root.find("b")->items()[2].as_string(), "x");
  CHECK(root.find("a")->find("n")->is_null());
  CHECK(root.find("c") == nullptr);
  CHECK(root.find("b")->find("x") == nullptr);
}

TEST("escapes and characters of every length become UTF-8") {
  const JsonDocument document = parse_json(R"("\"\\\/\b\f\n\r\t\u0000\u00e9\u4e2d\ud83d\ude00é中😀")", "t");
  const std::string expected = std::string("\"\\/\b\f\n\r\t") + '\0' + "é中😀é中😀";
  CHECK_EQ(document.root().as_string(), expected);
}

TEST("a document outlives its text and a move") {
  std::string text = R"({"key": ["a long enough string to be stored elsewhere"]})";
  JsonDocument first = parse_json(text, "t");
  std::fill(text.begin(), text.end(), '!');
  const JsonDocument second = std::move(first);
  CHECK_EQ(second.root().find("key")->items()[0].as_string(), "a long enough string to be stored elsewhere");
}

TEST("text outside the grammar is refused with its place") {
  const char* bad[] = {"",
                       " ",
                       "{",
                       "}",
                       "[1,]",
                       "[1 2]",
                       "{\"a\"}",
                       "{\"a\":}",
                       "{a:1}",
                       "{\"a\":1,}",
                       "01",
                       "1.",
                       ".5",
                       "+1",
                       "-",
                       "1e",
                       "1e+",
                       "NaN",
                       "Infinity",
                       "tru",
                       "nulll",
                       "\"",
                       "\"\\x\"",
                       "\"\\u12\"",
                       "\"\\u12g4\"",
                       "\"\\ud800\"",
                       "\"\\ud800\\u0041\"",
                       "\"\\udc00\"",
                       "\"\n\"",
                       "// c\n1",
                       "1 1",
                       "'a'",
                       "\xef\xbb\xbf{}",
                       "1e999",
                       "-1e999",
                       "[",
                       "[[",
                       "{\"a\":[",
                       "\"\\"};
  for (const char* text : bad) CHECK_THROWS(parse_json(text, "some file"), kBad, "some file: line ");
  CHECK_THROWS(parse_json("{\n  \"a\": 1,\n  b: 2\n}", "f"), kBad,
               "f: line 3, column 3 (byte 14): expected a key");
}

TEST("every malformed UTF-8 sequence is refused") {
  const char* bad[] = {"\x80",
                       "\xc0\xaf",
                       "\xc1\xbf",
                       "\xc3",
                       "\xe0\x9f\xbf",
                       "\xed\xa0\x80",
                       "\xf0\x8f\xbf\xbf",
                       "\xf4\x90\x80\x80",
                       "\xf5\x80\x80\x80",
                       "\xe4\xb8",
                       "\xff"};
  for (const char* text : bad)
    CHECK_THROWS(parse_json('"' + std::string(text) + '"', "f"), kBad, "valid UTF-8");
  // and nothing well formed is: every code point, against an encoder written from the definition
  for (uint32_t code = 0x80; code <= 0x10ffff; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    const int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text += static_cast<char>((extra == 1 ? 0xc0 : extra == 2 ? 0xe0 : 0xf0) | (code >> (6 * extra)));
    for (int i = extra - 1; i >= 0; --i) text += static_cast<char>(0x80 | ((code >> (6 * i)) & 63));
    const JsonDocument document = parse_json('"' + text + '"', "t");
    CHECK_EQ(document.root().as_string(), text);
  }
}

TEST("a key twice is refused, in small and in large objects") {
  CHECK_THROWS(parse_json(R"({"a": 1, "b": 2, "\u0061": 3})", "f"), kBad, "\"a\" occurs twice");
  std::string text = "{";
  for (int i = 0; i < 5000; ++i) text += "\"key" + std::to_string(i) + "\": " + std::to_string(i) + ", ";
  CHECK_EQ(parse_json(text + "\"last\": 0}", "f").root().members().size(), 5001u);
  CHECK_THROWS(parse_json(text + "\"key1234\": 0}", "f"), kBad, "\"key1234\" occurs twice");
}

TEST("nesting is bounded") {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK(parse_json(nested(64), "f").root().is_array());
  CHECK_THROWS(parse_json(nested(65), "f"), kBad, "at most 64 nested");
  CHECK_THROWS(parse_json(std::string(1 << 20, '['), "f"), kBad, "at most 64 nested");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK_THROWS(parse_json(objects, "f"), kBad, "at most 64 nested");
}

TEST("reading the wrong kind says what is there") {
  const JsonDocument document = parse_json(R"({"a": "x", "b": 1.5, "c": [1, 2, 3, 4, 5, 6]})", "t");
  const Json& root = document.root();
  CHECK_THROWS(root.find("a")->as_int(), kBad, "expected an integer, got string \"x\"");
  CHECK_THROWS(root.find("b")->as_int(), kBad, "expected an integer, got number 1.5");
  CHECK_THROWS(root.find("c")->as_bool(), kBad, "got array [1, 2, 3, 4, ...]");
  CHECK_THROWS(root.as_string(), kBad, "got object {\"a\": \"x\", ");
  CHECK_THROWS(root.items(), kBad, "expected an array");
  CHECK_THROWS(root.find("a")->members(), kBad, "expected an object");
  CHECK_THROWS(root.find("a")->as_double(), kBad, "expected a number");
}

// A writer of random documents, independent of the parser: what it wrote must be read back.
struct Writer {
  std::mt19937 random;
  uint32_t below(uint32_t n) { return random() % n; }
  std::string space() { return std::string(below(3), " \n\t\r"[below(4)]); }

  std::string text(int depth, std::vector<std::string>& leaves) {
    switch (below(depth > 4 ? 3 : 5)) {
      case 0: {
        const int64_t number = static_cast<int64_t>((uint64_t{random()} << 32 | random()) >> below(64));
        leaves.push_back("i" + std::to_string(number));
        return std::to_string(number);
      }
      case 1: {
        std::string raw;
        for (uint32_t i = below(20); i > 0; --i) raw += static_cast<char>(below(0x80));
        leaves.push_back("s" + raw);
        return json_quote(raw);
      }
      case 2:
        leaves.push_back("n");
        return "null";
      case 3: {
        std::string out = "[";
        const uint32_t count = below(5);
        for (uint32_t i = 0; i < count; ++i)
          out += (i ? "," : "") + space() + text(depth + 1, leaves) + space();
        return out + "]";
      }
      default: {
        std::string out = "{" + space();
        const uint32_t count = below(12);
        for (uint32_t i = 0; i < count; ++i)
          out += (i ? "," : "") + space() + "\"k" + std::to_string(i) + "\"" + space() + ":" + space() +
                 text(depth + 1, leaves) + space();
        return out + "}";
      }
    }
  }
};

void collect(const Json& value, std::vector<std::string>& leaves) {
  if (value.is_int()) leaves.push_back("i" + std::to_string(value.as_int()));
  if (value.is_string()) leaves.push_back("s" + std::string(value.as_string()));
  if (value.is_null()) leaves.push_back("n");
  if (value.is_array())
    for (const Json& item : value.items()) collect(item, leaves);
  if (value.is_object())
    for (const JsonMember& member : value.members()) collect(member.value, leaves);
}

TEST("random documents read back as written, and survive damage with a document or an error") {
  Writer writer{std::mt19937(7)};
  int parsed = 0, refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::vector<std::string> expected, got;
    std::string text = writer.text(0, expected);
    collect(parse_json(text, "t").root(), got);
    CHECK(expected == got);
    for (int hit = 0; hit < 4 && !text.empty(); ++hit) {
      const uint32_t at = writer.below(static_cast<uint32_t>(text.size()));
      if (writer.below(3) == 0)
        text.resize(at);
      else
        text[at] = static_cast<char>(writer.below(256));
      try {
        parse_json(text, "t");
        ++parsed;
      } catch (const Error& error) {
        CHECK(error.code() == kBad);
        ++refused;
      }
    }
  }
  CHECK(parsed > 100);
  CHECK(refused > 1000);
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
