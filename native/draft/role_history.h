#pragma once
// What agents with one system prompt produced lately, as a text that others draft from, bounded: when it is
// full, the older half is left out and the automaton is built again; readers keep the old one until they let
// go of it.
//
// Thread safety: append() on one thread at a time (the builder's); text() on any.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "draft/text_source.h"

namespace agentinfer {

class RoleHistory {
 public:
  explicit RoleHistory(size_t max_tokens);

  void append(std::vector<int32_t> tokens);  // one document; of a longer one than max_tokens, the end
  std::shared_ptr<const TextSource> text() const;

 private:
  const size_t max_tokens_;
  std::deque<std::vector<int32_t>> documents_;
  size_t tokens_ = 0;  // of documents_

  mutable std::mutex mutex_;
  std::shared_ptr<TextSource> text_;  // the pointer is guarded by mutex_
};

}  // namespace agentinfer
