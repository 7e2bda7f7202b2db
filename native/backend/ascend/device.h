#pragma once
// One device as one rank's thread holds it: bound to the thread, with a stream of its own, and memory that
// waits for the stream before it is freed. Everything here is called on that thread. Several ranks or engines
// may hold the same device, each with its own stream.
//
// Health. A fatal status (AclError::fatal) or a wait beyond the time limit makes the device dead for this
// holder: every later call throws the first reason at once, nothing waits for it any more, and releasing
// never blocks: the stream is aborted and freed by force.

#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "backend/ascend/cann.h"

namespace agentinfer {

class AscendDevice {
 public:
  // Binds the thread. Throws kDevice (no such device, busy, lost) naming it. `timeout_ms` bounds every wait
  // for the device.
  AscendDevice(const Cann& cann, int id, int timeout_ms);
  AscendDevice(const AscendDevice&) = delete;
  ~AscendDevice();

  const Cann& cann() const { return cann_; }
  const acl::RuntimeFunctions& rt() const { return cann_.rt; }
  int id() const { return id_; }
  acl::aclrtStream stream() const { return stream_; }
  acl::aclrtStream update_stream();  // for task updates of graphs; made on first use

  // Throws for a status that is not 0; a fatal one makes the device dead.
  void check(int status, const char* call, const std::string& about = {});
  // Work was put on the stream.
  void busy() { idle_ = false; }
  bool idle() const { return idle_; }
  // Waits for the stream. Polls `on_wait` (may throw; e.g. the state of a communicator) every tenth of a
  // second.
  void synchronize();
  void set_on_wait(std::function<void()> poll) { on_wait_ = std::move(poll); }

  // Throws the reason when dead.
  void ensure_alive() const;
  bool alive() const { return dead_.empty(); }
  void kill(const std::string& reason);  // the first reason stays
  // Waits if there is work, gives up on a device that does not answer. Before memory is freed.
  void settle() noexcept;

 private:
  const Cann& cann_;
  const int id_, timeout_ms_;
  acl::aclrtStream stream_ = nullptr, update_stream_ = nullptr;
  bool idle_ = true, aborted_ = false;
  std::string dead_;
  std::function<void()> on_wait_;
};

struct HeldMemory {
  AscendDevice* device = nullptr;
  void* at = nullptr;
  size_t bytes = 0;
};

// Device memory, 64-byte aligned, not zeroed. Frees after the stream has passed whatever used it.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws kOutOfMemory saying for what, and how much was free. bytes > 0.
  DeviceMemory(AscendDevice& device, size_t bytes, const std::string& what);
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {  // what this one held goes with `other`
    std::swap(held_, other.held_);
    return *this;
  }
  ~DeviceMemory() { reset(); }

  void* get() const { return held_.at; }
  std::byte* at(size_t offset) const { return static_cast<std::byte*>(held_.at) + offset; }
  size_t bytes() const { return held_.bytes; }
  void zero() { zero(0, held_.bytes); }
  void zero(size_t offset, size_t bytes);  // in stream order
  void reset() noexcept;

 private:
  HeldMemory held_;
};

// Page-locked host memory: the only kind that copies asynchronously.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(AscendDevice& device, size_t bytes, const std::string& what);
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {  // what this one held goes with `other`
    std::swap(held_, other.held_);
    return *this;
  }
  ~PinnedMemory() { reset(); }

  void* get() const { return held_.at; }
  std::byte* at(size_t offset) const { return static_cast<std::byte*>(held_.at) + offset; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(held_.at);
  }
  size_t bytes() const { return held_.bytes; }
  void reset() noexcept;

 private:
  HeldMemory held_;
};

// Asynchronous copies on the device's stream. Host memory must be pinned and stay until the stream has
// passed.
void copy_to_device(AscendDevice& device, void* to, const void* from, size_t bytes);
void copy_to_host(AscendDevice& device, void* to, const void* from, size_t bytes);
void copy_on_device(AscendDevice& device, void* to, const void* from, size_t bytes);

}  // namespace agentinfer
