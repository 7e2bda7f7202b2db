#pragma once
// A growing text that others draft from: an automaton with one writer and many readers.
//
// Locking. `mutex_` guards the automaton. The writer holds it alone for at most kSlice tokens at a time, and
// an append never rehashes or moves the whole structure (EdgeTable, Pages), so the hold is some tens of
// microseconds. Readers never wait: try_read() gives nothing while the writer is in a slice, and the reader's
// cursor catches up at the next step. What a reader sees is always the automaton of a whole prefix of the
// text.
//
// Where memory runs out in a slice, the automaton is half built: the text has failed. It takes nothing more
// and nobody can read it; the owner makes another.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "draft/builder.h"
#include "draft/suffix_automaton.h"

namespace agentinfer {

class TextSource : public std::enable_shared_from_this<TextSource> {
 public:
  static constexpr size_t kSlice = 64;

  // `builder` may be null: then every append is done by the caller. Otherwise it must outlive the source's
  // last append, and the source must be owned by a shared_ptr.
  explicit TextSource(Builder* builder);

  // The owner's side: one thread at a time. REQUIRES: tokens >= 0. Throws kInvalidArgument: more than
  // SuffixAutomaton::kMaxText. Short appends are done at once; long ones, and all that come while one is
  // under way, are left to the builder, in order.
  void append(std::span<const int32_t> tokens);
  // The text of the owner's sequence is now `tokens`: appends what is new when `tokens` extends what sync()
  // and append() gave the current document, else begins a document with the part behind the common prefix
  // (and kOverlap tokens before it, so that matches reach across). O(tokens) comparisons; appends as append()
  // does. Returns the index of the first token that is new.
  size_t sync(std::span<const int32_t> tokens);
  // Text beside the sequence: documents, separated by SuffixAutomaton::kBorder; begins and ends at a border.
  void append_documents(std::span<const int32_t> tokens);
  // Makes counts and latest positions exact (SuffixAutomaton::settle): one long hold, so for texts nobody
  // reads yet.
  void settle();
  // The owner's sequence so far (sync and append).
  const std::vector<int32_t>& sequence() const { return sequence_; }
  bool failed() const;  // any thread; as read()
  // All tokens ever appended, and a few marks; any thread.
  size_t appended() const { return appended_.load(std::memory_order_relaxed); }

  // The readers' side: any thread. Falsy while the writer is at work.
  class Reader {
   public:
    explicit operator bool() const { return lock_.owns_lock(); }
    const SuffixAutomaton& automaton() const { return *automaton_; }
    // Everything appended by the owner is in the automaton.
    bool complete() const { return complete_; }
    // Positions from here on belong to the owner's sequence as it is; before it lies what it was in earlier
    // turns.
    uint32_t own_begin() const { return own_begin_; }

   private:
    friend class TextSource;
    std::shared_lock<std::shared_mutex> lock_;
    const SuffixAutomaton* automaton_ = nullptr;
    uint32_t own_begin_ = 0;
    bool complete_ = false;
  };
  Reader try_read() const;
  // Waits for the writer's slice; falsy when the text has failed. For tests and for threads that may wait.
  Reader read() const;
  size_t bytes() const;  // as read()

 private:
  static constexpr size_t kInline = 256;  // longer appends go to the builder
  static constexpr size_t kOverlap = 64;
  // Marks among tokens: the next document goes on with the sequence, or starts one of its own.
  static constexpr int32_t kPart = -1, kFresh = -2;
  void enqueue(std::span<const int32_t> tokens);
  void write(std::span<const int32_t> tokens);
  void build();
  void give_up();
  Reader describe(std::shared_lock<std::shared_mutex> lock) const;

  Builder* const builder_;
  std::vector<int32_t> sequence_;     // owner's thread only
  std::atomic<size_t> appended_ = 0;  // tokens and marks given by the owner; it alone writes

  std::mutex queue_mutex_;
  std::vector<int32_t> queue_;  // guarded by queue_mutex_; tokens and marks not taken by the builder yet
  bool building_ = false;       // guarded by queue_mutex_: the builder will take, or is taking, queue_

  mutable std::shared_mutex mutex_;
  SuffixAutomaton automaton_;  // guarded by mutex_, as all below
  size_t written_ = 0;         // tokens and marks in the automaton
  uint32_t own_begin_ = 0;
  bool failed_ = false;
};

}  // namespace agentinfer
