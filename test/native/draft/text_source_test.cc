// A text with one writer and many readers: the same automaton whoever builds it, and no torn reads.

#include "draft/text_source.h"

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "draft/cursor.h"
#include "draft_texts.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

Tokens text_of(const TextSource& source) {
  const TextSource::Reader reader = source.read();
  Tokens out;
  for (uint32_t i = 0; i < reader.automaton().size(); ++i) out.push_back(reader.automaton().text(i));
  return out;
}

}  // namespace

TEST("appended in pieces of any size, by the caller or the builder: the same text in order") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20; ++round) {
    Builder builder;
    const auto source = std::make_shared<TextSource>(&builder);
    const Tokens text = texts::random_tokens(random, 5000, 100);
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min(text.size() - at, size_t{1} + random() % (random() % 2 ? 5 : 1000));
      source->append(std::span(text).subspan(at, size));
      at += size;
    }
    builder.drain();
    CHECK(text_of(*source) == text);
    CHECK(source->read().complete());
    CHECK(source->sequence() == text);
  }
}

TEST("sync appends what is new, and a changed tail begins a document with an overlap") {
  const auto source = std::make_shared<TextSource>(nullptr);
  Tokens tokens(100);
  for (int i = 0; i < 100; ++i) tokens[static_cast<size_t>(i)] = i;
  CHECK_EQ(source->sync(tokens), 0u);
  tokens.push_back(100);
  CHECK_EQ(source->sync(tokens), 100u);
  CHECK_EQ(source->read().automaton().size(), 101u);
  CHECK_EQ(source->sync(tokens), 101u);
  CHECK_EQ(source->read().automaton().size(), 101u);

  tokens[90] = 7;
  CHECK_EQ(source->sync(tokens), 90u);
  CHECK(source->sequence() == tokens);
  const Tokens text = text_of(*source);
  CHECK_EQ(text[101], -1);
  CHECK(Tokens(text.begin() + 102, text.end()) == Tokens(tokens.begin() + 26, tokens.end()));
  CHECK_EQ(source->read().own_begin(), 0u);  // still the same sequence

  tokens[0] = 3;
  CHECK_EQ(source->sync(tokens), 0u);
  CHECK_EQ(source->read().own_begin(), static_cast<uint32_t>(text.size() + 1));
}

TEST("documents beside the sequence are fenced on both sides") {
  const auto source = std::make_shared<TextSource>(nullptr);
  source->append_documents(Tokens{1, 2, -1, 3});
  source->append_documents(Tokens{});
  source->append_documents(Tokens{4});
  CHECK(text_of(*source) == Tokens({1, 2, -1, 3, -1, 4, -1}));
  CHECK(source->sequence().empty());
}

TEST("readers on other threads see whole prefixes while the text grows") {
  Builder builder;
  const auto source = std::make_shared<TextSource>(&builder);
  std::mt19937_64 random(2);
  const Tokens text = texts::repetitive_tokens(random, 40000, 200);
  std::atomic<bool> stop{false};
  std::atomic<int> seen{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      Cursor cursor;
      std::mt19937_64 own(static_cast<uint64_t>(r));
      uint32_t size = 0;
      while (!stop) {
        const TextSource::Reader reader = source->try_read();
        if (!reader) {
          std::this_thread::yield();
          continue;
        }
        const SuffixAutomaton& automaton = reader.automaton();
        bool good = automaton.size() >= size;
        size = automaton.size();
        cursor.repair(automaton);
        for (int i = 0; i < 8 && size > 0; ++i) {
          texts::advance(cursor, automaton, text[own() % size]);
          if (cursor.length() == 0) continue;
          const SuffixAutomaton::Match match = cursor.match(automaton);
          good = good && match.end <= size && match.length <= match.end && match.count > 0;
          for (uint32_t k = match.end - match.length; k < match.end; ++k)
            good = good && automaton.text(k) == text[k];
        }
        if (good)
          ++seen;
        else
          seen = -1000000;
      }
    });
  }
  source->append(std::span(text).first(20000));  // by the builder
  for (size_t at = 20000; at < text.size(); at += 3)
    source->append(std::span(text).subspan(at, std::min<size_t>(3, text.size() - at)));
  builder.drain();
  while (seen == 0) std::this_thread::yield();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(seen > 0);
  CHECK(text_of(*source) == text);
  source->read().automaton().check(100);
}

TEST("a failed background task is counted and ends only itself") {
  Builder builder;
  builder.post([] { fail(ErrorCode::kIo, "disk of ", 3); });
  bool ran = false;
  builder.post([&] { ran = true; });
  builder.drain();
  CHECK(ran);
  CHECK_EQ(builder.failures().count, 1u);
  CHECK_EQ(builder.failures().last, std::string("disk of 3"));
}

CHECK_MAIN
