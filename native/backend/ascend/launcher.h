#pragma once
// Puts operator calls on the stream. Within the part of a step that graphs cover it can also write down what
// it launched (for a capture afterwards) or launch nothing (while a replayed graph does the work).

#include <functional>
#include <initializer_list>
#include <utility>
#include <vector>

#include "backend/ascend/call.h"

namespace agentinfer {

// What a step put on the stream, in order.
struct TapeEntry {
  Call* call = nullptr;  // an operator with these addresses, or
  std::vector<const void*> addresses;
  bool attention = false;                         // its host arrays change from step to step
  std::function<void(acl::aclrtStream)> enqueue;  // a collective
};

class Launcher {
 public:
  Launcher(AscendDevice& device, size_t workspace_bytes)
      : device_(device), workspace_(device), cache_(device, 8192) {
    workspace_.need(workspace_bytes);
  }

  // Runs the operator with the cached call for (op, key); `addresses` are those of its rebindable
  // descriptors, in the order in which `build` makes them. Everything else about the call must follow from
  // the key.
  template <typename Build>
  void run(const char* op, const CallCache::Key& key, std::initializer_list<const void*> addresses,
           Build&& build) {
    if (skipping_) return;
    Call& call = cache_.get(op, key, std::forward<Build>(build));
    size_t n = 0;
    for (const void* address : addresses) call.bind(n++, address);
    launch(call, false);
  }
  void run(Call& call, bool attention) {
    if (!skipping_) launch(call, attention);
  }
  void run(std::function<void(acl::aclrtStream)> enqueue) {
    if (skipping_) return;
    device_.busy();
    enqueue(device_.stream());
    if (recording_)
      tape_.push_back({.call = nullptr, .addresses = {}, .attention = false, .enqueue = std::move(enqueue)});
  }

  void skip(bool on) { skipping_ = on; }
  bool skipping() const { return skipping_; }
  void record(bool on) { recording_ = on; }
  std::vector<TapeEntry> take_tape() { return std::exchange(tape_, {}); }

  AscendDevice& device() { return device_; }
  Workspace& workspace() { return workspace_; }
  CallCache& cache() { return cache_; }

 private:
  void launch(Call& call, bool attention) {
    call.launch(workspace_, device_.stream());
    if (recording_)
      tape_.push_back({.call = &call, .addresses = call.addresses(), .attention = attention, .enqueue = {}});
  }

  AscendDevice& device_;
  Workspace workspace_;
  CallCache cache_;
  bool skipping_ = false, recording_ = false;
  std::vector<TapeEntry> tape_;
};

}  // namespace agentinfer
