// What holds for every tokenizer: decoding undoes encoding, streaming is decoding, markers come only from
// trusted text, and callers may share one tokenizer.

#include <algorithm>
#include <random>
#include <thread>

#include "reference.h"
#include "text/utf8.h"

using namespace agentinfer;

namespace {

const std::vector<std::string> kAll = {"pangu", "nfkc", "llama3", "qwen"};

std::unique_ptr<Tokenizer> open(const std::string& name) {
  return Tokenizer::open(reference::folder(name));
}

// Feeds one id at a time; every delivery must be valid UTF-8 and final.
std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                   const DecodeOptions& options = {}) {
  Detokenizer detokenizer(tokenizer, options);
  std::string text;
  for (const int32_t id : ids) {
    const std::string delivered = detokenizer.push(id);
    CHECK(is_valid_utf8(delivered));
    CHECK(detokenizer.pending() < 4);
    text += delivered;
  }
  text += detokenizer.flush();
  CHECK_EQ(detokenizer.pending(), 0u);
  return text;
}

std::vector<int32_t> random_ids(const Tokenizer& tokenizer, std::mt19937_64& random) {
  std::vector<int32_t> ids(random() % 20);
  for (int32_t& id : ids)
    id = static_cast<int32_t>(random() %
                              (random() % 2 ? 300u : static_cast<uint32_t>(tokenizer.vocab_size())));
  return ids;
}

std::vector<int32_t> encode_segments(const Tokenizer& tokenizer, const std::vector<TextSegment>& segments) {
  std::vector<int32_t> ids;
  tokenizer.encode_segments(segments, {}, ids);
  return ids;
}

// `text` cut at random places; `trust` decides for each part.
template <typename F>
std::vector<TextSegment> cut(std::string_view text, std::mt19937_64& random, F&& trust) {
  std::vector<TextSegment> segments;
  while (!text.empty()) {
    const size_t size = std::min<size_t>(text.size(), random() % 12);
    segments.push_back({text.substr(0, size), trust()});
    text.remove_prefix(size);
  }
  return segments;
}

}  // namespace

TEST("streaming gives exactly the decoded text, in whole characters") {
  std::mt19937_64 random(1);
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const reference::Entry& entry : reference::read(name))
      CHECK_EQ(stream(*tokenizer, entry.special), entry.decoded);
    for (int i = 0; i < 3000; ++i) {
      const std::vector<int32_t> ids = random_ids(*tokenizer, random);
      CHECK_EQ(stream(*tokenizer, ids), tokenizer->decode(ids));
      CHECK_EQ(stream(*tokenizer, ids, {.skip_special = true}),
               tokenizer->decode(ids, {.skip_special = true}));
    }
  }
}

TEST("decoding a beginning gives a beginning of the whole, but for a character that is cut") {
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const reference::Entry& entry : reference::read(name)) {
      if (entry.special.size() > 60) continue;
      Detokenizer detokenizer(*tokenizer);
      std::string delivered;
      for (const int32_t id : entry.special) {
        detokenizer.push(id, delivered);
        CHECK(entry.decoded.starts_with(delivered));
      }
    }
  }
}

TEST("decoding undoes encoding where the normaliser is the identity") {
  for (const std::string name : {"pangu", "llama3"}) {
    const auto tokenizer = open(name);
    for (const reference::Entry& entry : reference::read(name)) {
      if (!is_valid_utf8(entry.text)) continue;
      std::string expected = entry.text;  // SentencePiece cannot tell U+2581 from a space
      for (size_t at; name == "pangu" && (at = expected.find("\xE2\x96\x81")) != std::string::npos;)
        expected.replace(at, 3, " ");
      CHECK_EQ(tokenizer->decode(tokenizer->encode(entry.text, true)), expected);
      CHECK_EQ(tokenizer->decode(tokenizer->encode(entry.text, false)), expected);
    }
  }
}

TEST("plain text never gives the id of a marker") {
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    std::vector<int32_t> markers;
    for (const reference::Entry& entry : reference::read(name))
      for (const int32_t id : tokenizer->encode(entry.text, true))
        if (entry.special.size() == 1 && tokenizer->is_special(id) && id != tokenizer->unk_id())
          markers.push_back(id);
    if (name != "nfkc") CHECK(markers.size() >= 3);
    for (const reference::Entry& entry : reference::read(name))
      for (const int32_t id : tokenizer->encode(entry.text, false))
        CHECK(std::find(markers.begin(), markers.end(), id) == markers.end());
  }
  const auto pangu = open("pangu");
  for (int i = 0; i < 34; ++i) {
    const std::string marker = "[unused" + std::to_string(i) + "]";
    const int32_t id = pangu->token_id(marker).value();
    CHECK_EQ(pangu->encode(marker, true), std::vector<int32_t>{id});
    const std::vector<int32_t> plain = pangu->encode("a" + marker + "b", false);
    CHECK(std::find(plain.begin(), plain.end(), id) == plain.end());
    CHECK_EQ(pangu->decode(plain), "a" + marker + "b");
  }
}

TEST("segments of one trust are one text") {
  std::mt19937_64 random(2);
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const reference::Entry& entry : reference::read(name)) {
      reference::check_same(entry, encode_segments(*tokenizer, cut(entry.text, random, [] { return true; })),
                            entry.special, "trusted");
      reference::check_same(entry, encode_segments(*tokenizer, cut(entry.text, random, [] { return false; })),
                            entry.plain, "plain");
    }
  }
}

TEST("trust changes nothing in a text without markers") {
  std::mt19937_64 random(3);
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const reference::Entry& entry : reference::read(name))
      if (entry.plain == entry.special)
        reference::check_same(
            entry, encode_segments(*tokenizer, cut(entry.text, random, [&] { return random() % 2 == 0; })),
            entry.plain, "mixed");
  }
}

TEST("a marker counts only where all of it is trusted") {
  const auto tokenizer = open("pangu");
  const int32_t end = tokenizer->token_id("[unused10]").value();
  const auto count = [&](const std::vector<TextSegment>& segments) {
    const std::vector<int32_t> ids = encode_segments(*tokenizer, segments);
    return std::count(ids.begin(), ids.end(), end);
  };
  CHECK_EQ(count({{"[unused10]", true}, {"[unused10]", false}, {"[unused10]", true}}), 2);
  CHECK_EQ(count({{"[unused", true}, {"10]", true}}), 1);
  CHECK_EQ(count({{"[unused", true}, {"10]", false}}), 0);
  CHECK_EQ(count({{"[unused", false}, {"10]", true}}), 0);
  CHECK_EQ(count({{"[unused", true}, {"", false}, {"10]", true}}), 1);
  CHECK_EQ(count({{"[unused", true}, {"1", false}, {"0]", true}}), 0);
  // Text flows across the borders, so a chat gives the same ids whether its content is trusted or not.
  const std::string content = "hello world, 你好";
  CHECK_EQ(encode_segments(*tokenizer, {{"[unused9]用户：", true}, {content, false}, {"[unused10]", true}}),
           tokenizer->encode("[unused9]用户：" + content + "[unused10]", true));
}

TEST("roles, flags and skipping follow the folder's files") {
  const auto pangu = open("pangu");
  CHECK_EQ(pangu->piece(pangu->eos_id().value()), "[unused10]");
  CHECK_EQ(pangu->bos_id().value(), 1);
  CHECK_EQ(pangu->pad_id().value(), 0);
  CHECK(pangu->add_bos() && !pangu->add_eos());
  CHECK(pangu->is_special(pangu->token_id("[unused9]").value()));
  CHECK(!pangu->is_special(pangu->token_id("\xE2\x96\x81the").value_or(-1)));
  CHECK(!pangu->is_special(-1) && !pangu->is_special(pangu->vocab_size()));
  const std::string turn = "<s>[unused16]think[unused17]yes[unused11]call[unused12][unused10]";
  CHECK_EQ(pangu->decode(pangu->encode(turn, true)), turn);
  CHECK_EQ(pangu->decode(pangu->encode(turn, true), {.skip_special = true}),
           "[unused16]think[unused17]yes[unused11]call[unused12]");
  CHECK_EQ(pangu->decode(pangu->encode(turn, true),
                         {.skip_special = true, .skip_ids = {{pangu->token_id("[unused16]").value()}}}),
           "<s>think[unused17]yes[unused11]call[unused12][unused10]");
  const auto llama = open("llama3");
  CHECK(llama->add_bos());
  CHECK_EQ(llama->piece(llama->bos_id().value()), "<|begin_of_text|>");
  CHECK_EQ(llama->decode(llama->encode("a<|eot_id|>b", true), {.skip_special = true}), "ab");
  const auto qwen = open("qwen");
  CHECK(!qwen->add_bos() && !qwen->bos_id());
  CHECK_EQ(qwen->piece(qwen->eos_id().value()), "<|im_end|>");
  CHECK_EQ(qwen->decode(qwen->encode("<tool_call>a<|im_end|>", true), {.skip_special = true}),
           "<tool_call>a");
}

TEST("long runs and long texts are encoded as short ones are") {
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const std::string unit : {"a", "=", " ", "哈", "ab\n"}) {
      std::string text;
      while (text.size() < 200000) text += unit;
      const std::vector<int32_t> ids = tokenizer->encode(text);
      CHECK(ids.size() <= text.size() + 1);
      if (name == "pangu" || name == "llama3") CHECK(tokenizer->decode(ids) == text);
    }
    // Texts that end in a marker or a line end are independent of what follows it.
    std::string joined;
    std::vector<int32_t> expected;
    if (name == "nfkc") continue;
    const std::string border = name == "pangu" ? "[unused9]" : name == "llama3" ? "<|eot_id|>" : "<|im_end|>";
    for (const reference::Entry& entry : reference::read(name)) {
      if (!is_valid_utf8(entry.text) || entry.text.size() > 200) continue;
      joined += entry.text + border;
      const std::vector<int32_t> ids = tokenizer->encode(entry.text + border, true);
      expected.insert(expected.end(), ids.begin(), ids.end());
    }
    CHECK(tokenizer->encode(joined, true) == expected);
  }
}

TEST("encoding can be cancelled, in the middle of a long word too") {
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    for (const std::string unit : {"a", "one two ", "哈"}) {
      std::string text;
      while (text.size() < 1 << 20) text += unit;
      int calls = 0;
      std::vector<int32_t> ids;
      CHECK_THROWS(tokenizer->encode(text, {.cancelled = [&] { return ++calls == 3; }}, ids),
                   ErrorCode::kAborted, "cancelled");
      CHECK_EQ(calls, 3);
      calls = -1000000;
      ids.clear();
      tokenizer->encode(text, {.cancelled = [&] { return ++calls == 0; }},
                        ids);  // never true: the scratch is as good as new
      CHECK(ids == tokenizer->encode(text));
    }
  }
}

TEST("threads share a tokenizer") {
  for (const std::string& name : kAll) {
    const auto tokenizer = open(name);
    const std::vector<reference::Entry> entries = reference::read(name);
    std::vector<int> wrong(4);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < wrong.size(); ++t)
      threads.emplace_back([&, t] {
        for (size_t i = t * 100; i < entries.size(); ++i) {
          wrong[t] += tokenizer->encode(entries[i].text, true) != entries[i].special;
          wrong[t] += tokenizer->decode(entries[i].special) != entries[i].decoded;
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) CHECK_EQ(count, 0);
  }
}

TEST("ids with which a model pads its vocabulary have no text, and break no character in two") {
  for (const char* name : {"pangu", "qwen"}) {
    const auto tokenizer = open(name);
    const std::string text = "a 汉 \U0001F980 b";
    std::vector<int32_t> padded{tokenizer->vocab_size()};
    for (const int32_t id : tokenizer->encode(text)) padded.push_back(id);
    padded.push_back(tokenizer->vocab_size() + 1000);
    CHECK_EQ(tokenizer->decode(padded), tokenizer->decode(tokenizer->encode(text)));
  }
}

TEST("misuse is refused with the value") {
  const auto tokenizer = open("pangu");
  CHECK_THROWS(tokenizer->decode(std::vector<int32_t>{-1}), ErrorCode::kInvalidArgument, "-1");
  CHECK_THROWS(tokenizer->piece(tokenizer->vocab_size()), ErrorCode::kInvalidArgument, "expected 0 to");
  CHECK_THROWS(tokenizer->piece(1 << 30), ErrorCode::kInvalidArgument, "1073741824");
  CHECK_THROWS(Tokenizer::open("/nonexistent"), ErrorCode::kIo, "tokenizer.model or tokenizer.json");
  CHECK_THROWS(Tokenizer::parse({}), ErrorCode::kInvalidArgument, "got neither");
  CHECK(!tokenizer->token_id("no such piece"));
}

CHECK_MAIN
