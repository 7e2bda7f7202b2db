#pragma once
// Gives each sequence its sources: its session's text, its run's other agents, its role's history and stored
// sessions with similar queries; and takes back what it produced. The engine's whole view of sources:
//
//   auto set = memory.open({.tenant = ..., .session = ..., .run = ..., .role = ..., .query = ...}, prompt);
//   memory.refresh(*set);             before each propose: attaches siblings and retrieved sessions that came
//                                     since
//   drafter.propose(set->sources, ...), drafter.commit(set->sources, ...)
//   memory.close(std::move(set));
//
// A session's text is kept from one request to the next, so a turn costs only its new tokens; so is what was
// retrieved for it, for a number of turns or until its query is another. A second
// request that is open in a session at the same time gets a text of its own, and the session's as a sibling.
//
// Building and retrieval run on one background thread, beside the prefill; no call here but drain() waits for
// it. Until a source is ready there are just no drafts from it.
//
// Thread safety: any thread may call; an open set belongs to one thread at a time. Two engines with the same
// tokenizer may share one memory. Every set must be closed (or destroyed) before the memory.

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "draft/session_store.h"
#include "draft/sources.h"

namespace agentinfer {

struct DraftMemoryOptions {
  bool session = true;  // keep sessions' texts; draft from earlier turns and from the run's other agents
  bool role = true;     // draft from what agents with the same system prompt produced
  int siblings = 8;     // texts of the run per sequence at most
  int retrieved = 8;    // stored sessions per sequence at most; 0: no store
  size_t role_tokens = 64 * 1024;          // kept per role; the older half goes when it is full
  size_t session_bytes = size_t{1} << 30;  // about, of sessions' texts; the least recently used idle ones go
  StoreOptions store;
};

// Empty strings: none. Everything is private to the tenant.
struct SequenceOrigin {
  std::string tenant;
  std::string session;        // whose turn this is
  std::string run;            // agents working on the same task
  std::string role;           // e.g. a hash of the system prompt
  std::string query;          // the task in words, for retrieval
  std::vector<float> vector;  // its embedding, if the caller has one
};

class DraftMemory {
 private:
  struct State;

 public:
  struct Stats {
    SessionStore::Stats store;
    size_t open = 0, sessions = 0, roles = 0;  // open sets; sessions and roles with a text
    uint64_t retrievals = 0;                   // searches of the store
    uint64_t failures = 0;  // background tasks that failed, e.g. a query vector of a new size
    std::string last_failure;
  };

  // What belongs to an open sequence. The drafter works on `sources`; the rest is the memory's. Destroyed
  // without close(), what it generated is not kept.
  class Set {
   public:
    ~Set();
    SourceSet sources;

   private:
    friend class DraftMemory;
    struct Private;
    Set(std::shared_ptr<TextSource> own, std::unique_ptr<Private> its);
    std::unique_ptr<Private> private_;
  };

  explicit DraftMemory(DraftMemoryOptions options);
  ~DraftMemory();

  // Throws kInvalidArgument: a token below 0, more than SuffixAutomaton::kMaxText tokens.
  std::unique_ptr<Set> open(SequenceOrigin origin, std::span<const int32_t> prompt);
  // Cheap when there is nothing new: two atomic loads.
  void refresh(Set& set);
  // What the sequence generated goes to its role's history, and what is new of it to the store. Throws as
  // TextSource::append.
  void close(std::unique_ptr<Set> set);

  // The session will not come back: its text is freed when nobody reads it. What it gave to the store stays.
  void end_session(const std::string& tenant, const std::string& session);

  // One file per tenant (SessionStore::save, load). A future is broken if the memory ends first.
  std::future<void> save(std::string tenant, std::filesystem::path path);
  std::future<SessionStore::Loaded> load(std::string tenant, std::filesystem::path path);
  void drain();  // waits for the background work posted so far
  Stats stats();

 private:
  std::unique_ptr<State> state_;
};

}  // namespace agentinfer
