#pragma once
// Operator calls that live across steps: an executor (phase 1's result), made repeatable, with the
// descriptors it was made from. A later run sets the addresses that changed and calls phase 2 only.
//
// Why this is safe. An executor depends on shapes, types, attributes and host arrays alone; those make the
// key. Composite operators read the tensor objects again at each run and individual ones keep addresses
// inside the executor, so the same objects stay alive and every address goes through the executor's setters.
// Where CANN refuses to make an executor repeatable, phase 1 runs each time.

#include <array>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/ascend/device.h"

namespace agentinfer {

// Memory that operators work in, one for the stream: consecutive operators may share it, stream order
// protects it.
class Workspace {
 public:
  explicit Workspace(AscendDevice& device) : device_(device) {}
  // At least `bytes`, waiting for the stream and allocating anew when it is too small.
  // Captured graphs hold the address: `on_move` is called before it changes.
  void* need(size_t bytes);
  size_t bytes() const { return memory_.bytes(); }
  void* get() const { return memory_.get(); }
  void set_on_move(std::function<void()> on_move) { on_move_ = std::move(on_move); }

 private:
  AscendDevice& device_;
  DeviceMemory memory_;
  std::function<void()> on_move_;
};

class Call {
 public:
  explicit Call(AscendDevice& device) : device_(device) {}
  Call(const Call&) = delete;
  ~Call();

  // --- descriptors, in the order of the operator's parameters ---
  using Dims = std::initializer_list<int64_t>;
  acl::T in(Dims dims, acl::aclDataType type, const void* at);
  acl::T in_view(Dims dims, Dims strides, Dims storage, acl::aclDataType type, const void* at,
                 acl::aclFormat format = acl::kFormatNd);
  acl::Out out(Dims dims, acl::aclDataType type, const void* at);
  acl::Out in_out(Dims dims, acl::aclDataType type, const void* at);  // in place; its address is not rebound
  acl::Out fixed_out(Dims dims, acl::aclDataType type, const void* at);  // an output that is not rebound
  const acl::aclTensorList* in_list(Dims dims, acl::aclDataType type, const void* at);  // a list of one
  acl::Out list_member(Dims dims, acl::aclDataType type, const void* at);               // for out_list
  acl::aclTensorList* out_list(std::span<acl::Out> members);      // the last ones made, which it takes over
  const acl::aclIntArray* ints(std::span<const int64_t> values);  // counts as an input
  const acl::aclScalar* scalar(float value);
  void skip(int count = 1) { next_input_ += static_cast<size_t>(count); }  // null inputs

  // --- phase 1 ---
  template <typename... P, typename... A>
  void plan(const acl::Operator<P...>& op, A... arguments) {
    name_ = op.name;
    phase2_ = op.phase2;
    finish_plan(op.phase1(static_cast<P>(arguments)..., &workspace_, &executor_));
  }

  // --- running ---
  bool repeatable() const { return repeatable_; }
  // The n-th rebindable descriptor (in, in_view, out, in_list in the order made) gets another address.
  void bind(size_t n, const void* at);
  void launch(Workspace& workspace, acl::aclrtStream stream);
  size_t workspace_bytes() const { return workspace_; }
  std::vector<const void*> addresses() const;
  void rebind(std::span<const void* const> addresses);
  const char* name() const { return name_; }

 private:
  struct Argument {
    acl::aclTensor* tensor = nullptr;
    acl::aclTensorList* list = nullptr;
    bool output = false;
    size_t index = 0;
    const void* at = nullptr;
  };
  acl::aclTensor* tensor(Dims dims, Dims strides, Dims storage, acl::aclDataType type, const void* at,
                         acl::aclFormat format = acl::kFormatNd);
  void finish_plan(int status);

  AscendDevice& device_;
  const char* name_ = "";
  acl::aclnnStatus (*phase2_)(void*, uint64_t, acl::aclOpExecutor*, acl::aclrtStream) = nullptr;
  acl::aclOpExecutor* executor_ = nullptr;
  uint64_t workspace_ = 0;
  bool repeatable_ = false;
  size_t next_input_ = 0, next_output_ = 0;
  std::vector<Argument> arguments_;
  std::vector<const acl::aclTensor*> tensors_;  // not those in lists
  std::vector<const acl::aclTensorList*> lists_;
  std::vector<const acl::aclIntArray*> arrays_;
  std::vector<const acl::aclScalar*> scalars_;
};

// Calls by operator and shape.
class CallCache {
 public:
  using Key = std::array<int64_t, 7>;  // shape and attributes; unused entries 0
  CallCache(AscendDevice& device, size_t limit) : device_(device), limit_(limit) {}

  // The call for (op, key). Made by `build(call)`, which describes the arguments with the addresses of now
  // and plans it. A call found keeps the addresses of its last run: bind them.
  template <typename Build>
  Call& get(const char* op, const Key& key, Build&& build) {
    Entry& entry = entries_[{op, key}];
    entry.used = ++clock_;
    if (entry.call == nullptr || !entry.call->repeatable()) {
      auto made = std::make_unique<Call>(device_);
      build(*made);
      entry.call = std::move(made);
    }
    return *entry.call;
  }
  // Drops the older half when there are more than the limit. REQUIRES: nobody holds a call.
  void trim();
  void clear() { entries_.clear(); }
  size_t size() const { return entries_.size(); }

 private:
  struct Id {
    const char* op;
    Key key;
    bool operator==(const Id&) const = default;
  };
  struct Hash {
    size_t operator()(const Id& id) const;
  };
  struct Entry {
    std::unique_ptr<Call> call;
    uint64_t used = 0;
  };
  AscendDevice& device_;
  const size_t limit_;
  uint64_t clock_ = 0;
  std::unordered_map<Id, Entry, Hash> entries_;
};

}  // namespace agentinfer
