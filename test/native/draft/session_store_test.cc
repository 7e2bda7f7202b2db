// The store of sessions: retrieval, eviction, files that may be damaged or foreign, and tenants kept apart.

#include "draft/session_store.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "draft/store_file.h"
#include "draft_texts.h"
#include "temp_folder.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

std::vector<std::string> ids(const std::vector<SessionStore::Match>& matches) {
  std::vector<std::string> out;
  for (const SessionStore::Match& match : matches) out.push_back(match.id);
  return out;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

Tokens text_of(const TextSource& source) {
  Tokens out;
  const TextSource::Reader reader = source.read();
  for (uint32_t i = 0; i < reader.automaton().size(); ++i) out.push_back(reader.automaton().text(i));
  while (!out.empty() && out.back() == SuffixAutomaton::kBorder) out.pop_back();
  return out;
}

// A store with three sessions of tenant "a", one with a vector-less query.
std::unique_ptr<SessionStore> small_store(uint64_t fingerprint) {
  auto made = std::make_unique<SessionStore>(StoreOptions{.fingerprint = fingerprint});
  SessionStore& store = *made;
  const std::vector<float> east{1, 0, 0}, north{0, 1, 0};
  store.put("a", "s1", "weather in Beijing", east);
  store.append("a", "s1", Tokens{1, 2, 3});
  store.append("a", "s1", Tokens{4, 5});
  store.put("a", "s2", "\xe5\x8c\x97\xe4\xba\xac\xe5\xa4\xa9\xe6\xb0\x94", north);
  store.append("a", "s2", Tokens{6, 7});
  store.put("a", "s3", "train times", {});
  store.append("a", "s3", Tokens{8});
  return made;
}

// Puts right checksums over whatever the bytes now say, as an attacker would.
void seal(std::string& file) {
  const auto store32 = [&](size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) file[at + i] = static_cast<char>(value >> (8 * i));
  };
  uint64_t payload = file.size() - 64;
  for (size_t i = 0; i < 8; ++i) file[32 + i] = static_cast<char>(payload >> (8 * i));
  store32(56, crc32c(bytes_of(file).subspan(64)));
  store32(60, crc32c(bytes_of(file).first(60)));
}

}  // namespace

TEST("terms: words with case folded, pairs of CJK characters, a lone one, and no crash on any bytes") {
  CHECK(query_terms("Hello, WORLD 42") == query_terms("hello world\n42"));
  CHECK_EQ(query_terms("one two-three").size(), 3u);
  CHECK(query_terms("\xc3\x89t\xc3\xa9") == query_terms("\xc3\xa9t\xc3\xa9"));  // E acute
  CHECK(query_terms("\xd0\x9f\xd1\x80") == query_terms("\xd0\xbf\xd1\x80"));    // Cyrillic
  CHECK(query_terms("\xef\xbc\xa1\xef\xbc\xa2") == query_terms("ab"));          // full width
  CHECK_EQ(query_terms("\xe5\x8c\x97\xe4\xba\xac\xe5\xb8\x82").size(), 2u);     // three characters
  CHECK_EQ(query_terms("\xe5\x8c\x97").size(), 1u);
  CHECK_EQ(query_terms("a\xe5\x8c\x97\xe4\xba\xac"
                       "b")
               .size(),
           3u);
  CHECK_EQ(query_terms(" .,;\xe3\x80\x82\xef\xbc\x8c \t").size(), 0u);
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 40, 0);
    for (char& c : text) c = static_cast<char>(random());
    CHECK(query_terms(text).size() <= text.size());
  }
}

TEST("retrieval: the same words first, rare words count more, the same query is 1, strangers are left out") {
  QueryIndex index;
  index.put(1, "find the author of the paper on suffix automata", {});
  index.put(2, "find the price of the train", {});
  index.put(3, "find the author of the train paper", {});
  index.put(4, "hello there", {});
  const auto hits = index.search("find the author of the paper on suffix automata", {}, 10, 0.01);
  CHECK(hits.size() == 3 && hits[0].id == 1 && hits[1].id == 3 && hits[2].id == 2);
  CHECK_NEAR(hits[0].similarity, 1.0, 1e-9);
  CHECK(hits[1].similarity < 1 && hits[1].similarity > hits[2].similarity && hits[2].similarity > 0);
  CHECK_EQ(index.search("suffix", {}, 10, 0).size(), 1u);
  CHECK_EQ(index.search("find the author", {}, 2, 0).size(), 2u);
  CHECK_EQ(index.search("", {}, 2, 0).size(), 0u);
  index.put(1, "something else", {});
  index.remove(3);
  CHECK_EQ(index.search("suffix automata paper author", {}, 10, 0).size(), 0u);
}

TEST("retrieval equals BM25 written down plainly, on random queries") {
  std::mt19937_64 random(2);
  const auto word = [&] { return "w" + std::to_string(random() % 30); };
  std::vector<std::vector<std::string>> documents(40);
  QueryIndex index;
  double total = 0;
  for (uint32_t d = 0; d < documents.size(); ++d) {
    std::string text;
    for (uint64_t n = 1 + random() % 12; n > 0; --n) {
      documents[d].push_back(word());
      text += documents[d].back() + " ";
    }
    total += static_cast<double>(documents[d].size());
    index.put(d, text, {});
  }
  const auto score = [&](const std::vector<std::string>& query, const std::vector<std::string>& document) {
    double sum = 0;
    for (const std::string& term : query) {
      double with = 0;
      for (const auto& other : documents) with += std::count(other.begin(), other.end(), term) > 0;
      const auto tf = static_cast<double>(std::count(document.begin(), document.end(), term));
      const double size =
          static_cast<double>(document.size()) / (total / static_cast<double>(documents.size()));
      sum += std::log(1 + (40 - with + 0.5) / (with + 0.5)) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * size));
    }
    return sum;
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> query;
    std::string text;
    for (uint64_t n = 1 + random() % 6; n > 0; --n) {
      query.push_back(word());
      text += query.back() + " ";
    }
    for (const QueryIndex::Hit& hit : index.search(text, {}, 40, 0))
      CHECK_NEAR(hit.similarity, std::min(1.0, score(query, documents[hit.id]) / score(query, query)), 1e-9);
  }
}

TEST("vectors: cosine joins in, sizes must agree, and the last one gone frees the size") {
  QueryIndex index;
  const std::vector<float> east{2, 0}, north{0, 3}, near_east{1, 0.1f};
  index.put(1, "x", east);
  index.put(2, "y", north);
  index.put(3, "z", {});
  const auto hits = index.search("unknown", near_east, 5, 0.01);
  CHECK(hits.size() == 2 && hits[0].id == 1 && hits[1].id == 2);
  CHECK_NEAR(hits[0].similarity, 0.5 * 1 / std::sqrt(1.01), 1e-6);
  CHECK_THROWS(index.put(4, "w", std::vector<float>{1, 2, 3}), ErrorCode::kInvalidArgument,
               "expected 2 numbers, got 3");
  CHECK_THROWS(index.search("x", std::vector<float>{1}, 1, 0), ErrorCode::kInvalidArgument, "got 1");
  CHECK_THROWS(index.put(4, "w", std::vector<float>{1, NAN}), ErrorCode::kInvalidArgument, "finite");
  index.remove(1);
  index.remove(2);
  index.put(4, "w", std::vector<float>{1, 2, 3});
  CHECK_EQ(index.dimensions(), 3u);
}

TEST("a session's text is its documents; one that grows after its automaton was built is read on") {
  const auto made = small_store(1);
  SessionStore& store = *made;
  const auto source = store.source("a", "s1");
  CHECK(text_of(*source) == Tokens({1, 2, 3, -1, 4, 5}));
  store.append("a", "s1", Tokens{9, 9});
  CHECK(text_of(*source) == Tokens({1, 2, 3, -1, 4, 5, -1, 9, 9}));
  CHECK(store.source("a", "s1") == source);
  CHECK(store.source("a", "nobody") == nullptr);
  store.check();
  CHECK_EQ(store.stats().sessions, 3u);
  CHECK_EQ(store.stats().automata, 1u);
}

TEST("only the newest tokens of a long session are kept") {
  SessionStore store({.max_session_tokens = 10});
  Tokens tokens(25);
  for (int i = 0; i < 25; ++i) tokens[static_cast<size_t>(i)] = i;
  store.append("a", "s", tokens);
  CHECK(text_of(*store.source("a", "s")) == Tokens(tokens.end() - 10, tokens.end()));
  store.append("a", "s", Tokens{50, 51});
  CHECK(text_of(*store.source("a", "s")) == Tokens({18, 19, 20, 21, 22, 23, 24, -1, 50, 51}));
  store.check();
}

TEST("eviction: automata first, then the least recently used sessions; the budget holds after every call") {
  std::mt19937_64 random(3);
  StoreOptions options;
  options.byte_budget = 400 * 1000;
  SessionStore store(options);
  std::vector<std::shared_ptr<const TextSource>> held;
  for (int step = 0; step < 600; ++step) {
    const std::string tenant(1, static_cast<char>('a' + random() % 3)),
        session = std::to_string(random() % 40);
    const uint64_t what = random() % 10;
    if (what < 2)
      store.put(tenant, session, "query " + session + " of " + tenant, {});
    else if (what < 7)
      store.append(tenant, session, texts::random_tokens(random, random() % 800, 1000));
    else
      held.push_back(store.source(tenant, session));
    store.check();
    CHECK(store.stats().bytes <= options.byte_budget);
  }
  CHECK(store.stats().evicted_sessions > 0 && store.stats().evicted_automata > 0);
  for (const auto& source : held)
    if (source) source->read().automaton().check(5);  // those handed out live on

  SessionStore three({.byte_budget = 100 * 1000});
  for (const char* name : {"old", "middle", "new"}) {
    three.put("t", name, "the same words", {});
    three.append("t", name, Tokens(7000, 1));
  }
  CHECK(three.source("t", "old") != nullptr);  // used: now the most recent; its automaton needs room
  CHECK_EQ(three.stats().sessions + three.stats().evicted_sessions, 3u);
  three.append("t", "more", Tokens(20000, 2));
  CHECK(three.source("t", "middle") == nullptr);
  three.check();
}

TEST("tenants never see each other: same queries, same ids, no crossing by search, id, file or forgetting") {
  std::mt19937_64 random(4);
  SessionStore store({});
  for (const std::string tenant : {"alice", "bob", ""}) {
    for (int s = 0; s < 20; ++s) {
      store.put(tenant, "s" + std::to_string(s), "the very same query", {});
      // Tokens tell whose they are.
      Tokens tokens = texts::random_tokens(random, 50, 100);
      for (int32_t& token : tokens) token += static_cast<int32_t>(1000 * (tenant.size() + 1));
      store.append(tenant, "s" + std::to_string(s), tokens);
    }
  }
  for (const std::string tenant : {"alice", "bob", ""}) {
    const auto matches = store.search(tenant, "the very same query", {}, 100, "s3");
    CHECK_EQ(matches.size(), 19u);
    for (const SessionStore::Match& match : matches)
      for (const int32_t token : text_of(*store.source(tenant, match.id)))
        CHECK_EQ(token / 1000, static_cast<int32_t>(tenant.size() + 1));
  }
  CHECK(store.search("carol", "the very same query", {}, 100, "").empty());
  CHECK(store.source("carol", "s1") == nullptr);

  check::TempFolder folder;
  store.save("alice", folder / "alice.sam");
  SessionStore::Loaded loaded = store.load("carol", folder / "alice.sam");
  CHECK(loaded.sessions == 0 && loaded.refused.find("another tenant") != std::string::npos);
  store.check();
}

TEST("search leaves out the asking session and sessions without tokens") {
  const auto made = small_store(1);
  SessionStore& store = *made;
  store.put("a", "s4", "weather in Beijing", {});  // running, nothing produced yet
  CHECK(ids(store.search("a", "weather in Beijing", {}, 8, "")) == std::vector<std::string>{"s1"});
  CHECK(ids(store.search("a", "weather in Beijing", {}, 8, "s1")).empty());
}

TEST("files: what was saved is loaded, in the same order of use, and merging keeps what is there") {
  check::TempFolder folder;
  const auto path = folder / "a.sam";
  const auto made = small_store(7);
  const SessionStore& saved = *made;
  saved.save("a", path);
  SessionStore store({.fingerprint = 7});
  store.put("a", "s2", "mine", {});
  const SessionStore::Loaded loaded = store.load("a", path);
  CHECK_EQ(loaded.refused, std::string());
  CHECK_EQ(loaded.sessions, 2u);
  CHECK(text_of(*store.source("a", "s1")) == Tokens({1, 2, 3, -1, 4, 5}));
  CHECK(store.source("a", "s2") == nullptr);  // still without tokens
  CHECK_EQ(store.search("a", "weather in beijing", std::vector<float>{1, 0, 0}, 8, "")[0].id,
           std::string("s1"));
  store.check();

  saved.save("a", folder / "again.sam");
  SessionStore fresh({.fingerprint = 7});
  CHECK_EQ(fresh.load("a", folder / "again.sam").sessions, 3u);
  fresh.save("a", folder / "third.sam");
  CHECK(check::read_file(folder / "third.sam") == check::read_file(path));
  CHECK_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 3);  // nothing left over

  const SessionStore::Loaded none = fresh.load("a", folder / "absent.sam");
  CHECK(none.sessions == 0 && none.refused.empty());
  CHECK_THROWS(saved.save("a", folder.path() / "no" / "folder.sam"), ErrorCode::kIo, "cannot create");
}

TEST(
    "files: any flipped byte, any cut, any addition, another tokenizer: refused with a reason, nothing "
    "changed") {
  check::TempFolder folder;
  const auto path = folder / "a.sam";
  small_store(7)->save("a", path);
  const std::string good = check::read_file(path);
  CHECK(good.size() < 400);
  SessionStore store({.fingerprint = 7});
  const auto refused = [&](const std::string& file) {
    folder.write("bad.sam", file);
    const SessionStore::Loaded loaded = store.load("a", folder / "bad.sam");
    return loaded.sessions == 0 && !loaded.refused.empty() && store.stats().sessions == 0;
  };
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      if (bit == 0)
        CHECK(refused(bad));
      else
        CHECK(!decode_sessions(bytes_of(bad), "a", 7).refused.empty());
    }
    std::string random_byte = good;
    random_byte[at] = static_cast<char>(~random_byte[at]);
    CHECK(refused(random_byte));
    CHECK(refused(good.substr(0, at)));
  }
  CHECK(refused(good + '\0'));
  CHECK(refused(good + good));
  SessionStore foreign({.fingerprint = 8});
  CHECK(foreign.load("a", path).refused.find("another tokenizer") != std::string::npos);
  CHECK(store.load("a", folder.path()).refused.find("cannot be read") != std::string::npos);
  CHECK_EQ(store.load("a", path).sessions, 3u);
}

TEST("files: hostile content under right checksums is refused or sound, never read out of range") {
  check::TempFolder folder;
  small_store(7)->save("a", folder / "a.sam");
  const std::string good = check::read_file(folder / "a.sam");
  std::mt19937_64 random(5);
  int refused = 0, taken = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string bad = good;
    for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      // The count of sessions, or the payload.
      const size_t at = random() % 6 == 0 ? 40 + random() % 8 : 64 + random() % (bad.size() - 64);
      const uint64_t what = random() % 4;
      if (what == 0)
        bad[at] = static_cast<char>(random());
      else if (what == 1)
        bad[at] = random() % 2 ? '\xff' : '\0';
      else if (what == 2 && at >= 64)
        bad.erase(at, 1 + random() % 5);
      else if (at >= 64)
        bad.insert(at, std::string(1 + random() % 5, static_cast<char>(random())));
      if (bad.size() <= 65) bad = good;
    }
    seal(bad);
    const DecodedSessions decoded = decode_sessions(bytes_of(bad), "a", 7);
    ++(decoded.refused.empty() ? taken : refused);
    CHECK(decoded.refused.empty() || decoded.sessions.empty());
    if (!decoded.refused.empty() || round % 20) continue;
    folder.write("bad.sam", bad);
    SessionStore store({.fingerprint = 7});
    CHECK_EQ(store.load("a", folder / "bad.sam").sessions, decoded.sessions.size());
    for (const StoredSession& session : decoded.sessions)
      if (const auto source = store.source("a", session.id)) source->read().automaton().check(10);
    store.check();
  }
  CHECK(refused > 1000 && taken > 1000);
}

TEST("files: sessions twice, vectors of two sizes, without id: refused though well formed") {
  const StoredSession one{"x", "q", {1, 0}, {1}}, same = one, other{"y", "q", {1, 0, 0}, {1}},
                                                  nameless{"", "q", {}, {1}};
  const auto reason = [](std::vector<const StoredSession*> sessions) {
    return decode_sessions(encode_sessions(sessions, "t", 1), "t", 1).refused;
  };
  CHECK_EQ(reason({&one}), std::string());
  CHECK_EQ(reason({}), std::string());
  CHECK(reason({&one, &same}).find("twice") != std::string::npos);
  CHECK(reason({&one, &other}).find("two sizes") != std::string::npos);
  CHECK(reason({&nameless}).find("without id") != std::string::npos);
}

TEST("a refused vector leaves no session behind, and a tenant goes with its last session") {
  SessionStore store({.byte_budget = 4096});
  store.put("a", "one", "words", std::vector<float>{1, 0});
  CHECK_THROWS(store.put("a", "two", "words", std::vector<float>{1, 0, 0}), ErrorCode::kInvalidArgument,
               "got 3");
  CHECK_THROWS(store.put("b", "two", "words", std::vector<float>{NAN}), ErrorCode::kInvalidArgument,
               "finite");
  CHECK_EQ(store.stats().sessions, size_t{1});
  CHECK_EQ(store.tenants(), size_t{1});
  store.put("b", "one", "words", {});
  CHECK_EQ(store.tenants(), size_t{2});
  store.append("b", "one", Tokens(2000, 1));  // leaves no room for another
  CHECK_EQ(store.tenants(), size_t{1});
  CHECK_EQ(store.stats().evicted_sessions, 1u);
  store.check();
}

TEST("crc32c has the standard's check value") {
  CHECK_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
}

CHECK_MAIN
