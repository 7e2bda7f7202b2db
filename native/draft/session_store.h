#pragma once
// The memory across sessions: finished and running sessions' tokens and query, by tenant, under one byte
// budget. A session's automaton is built when it is first retrieved and is dropped first when room is needed;
// then whole sessions go, least recently used first. (arXiv 2512.18337's repository M_global with what it
// leaves open: a bound, eviction, privacy.)
//
// Tenants never see each other's text: each has its own sessions and index, and no call crosses them.
//
// Thread safety: none; DraftMemory runs it on its builder's thread. Sources handed out are safe to read
// anywhere and stay valid after their session is evicted.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "draft/query_index.h"
#include "draft/text_source.h"

namespace agentinfer {

struct StoreOptions {
  size_t byte_budget =
      size_t{1} << 30;  // of tokens, queries, vectors and automata, all tenants; one session may exceed it
  size_t max_session_tokens = 256 * 1024;  // the newest are kept
  double min_similarity = 0.1;             // sessions less like the query are not retrieved
  uint64_t fingerprint = 0;                // of the tokenizer: token ids mean nothing to another
};

// A session as it is kept and written to disk. Documents are separated by SuffixAutomaton::kBorder.
struct StoredSession {
  std::string id, query;
  std::vector<float> vector;
  std::vector<int32_t> tokens;
};

class SessionStore {
 public:
  struct Match {
    std::string id;
    double similarity = 0;
  };
  struct Stats {
    size_t sessions = 0, automata = 0, bytes = 0;
    uint64_t evicted_sessions = 0, evicted_automata = 0;
  };
  struct Loaded {
    size_t sessions = 0;
    std::string refused;  // why the file was not used; empty: it was, or there is none
  };

  explicit SessionStore(StoreOptions options);
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;
  ~SessionStore();

  // Adds the session or replaces its query; its tokens stay. Both throw kInvalidArgument: an empty id; a
  // vector of another size than the tenant's others, or not finite.
  void put(std::string_view tenant, std::string_view session, std::string_view query,
           std::span<const float> vector);
  // Tokens of the session, a document of their own. A session not put yet is added with an empty query.
  void append(std::string_view tenant, std::string_view session, std::span<const int32_t> tokens);

  // The `count` sessions with tokens whose queries are most similar, best first, without the session
  // `except`.
  std::vector<Match> search(std::string_view tenant, std::string_view query, std::span<const float> vector,
                            size_t count, std::string_view except) const;
  // The session's text, built if need be; null if it is not here (any more). Counts as a use.
  std::shared_ptr<const TextSource> source(std::string_view tenant, std::string_view session);

  // One file per tenant, written to a temporary file beside it and renamed. Throws kIo.
  void save(std::string_view tenant, const std::filesystem::path& path) const;
  // Adds the file's sessions (those present stay as they are). A damaged or foreign file changes nothing.
  Loaded load(std::string_view tenant, const std::filesystem::path& path);

  const Stats& stats() const { return stats_; }
  size_t tenants() const;  // that have sessions
  void check() const;      // kInternal unless the byte counts add up

 private:
  struct Entry;
  struct Tenant;
  Entry& entry(std::string_view tenant, std::string_view session);
  Entry* find(std::string_view tenant, std::string_view session);
  void insert(std::string_view tenant, StoredSession session);
  std::string unfit(std::string_view tenant, std::span<const StoredSession> sessions) const;
  void touch(Entry& entry);
  void account(Entry& entry);
  void erase(Entry& entry);
  void make_room(const Entry* keep);

  StoreOptions options_;
  std::map<std::string, Tenant, std::less<>> tenants_;
  std::map<uint64_t, Entry*> by_use_;  // least recent first
  uint64_t clock_ = 0;
  uint32_t next_number_ = 0;
  Stats stats_;
};

}  // namespace agentinfer
