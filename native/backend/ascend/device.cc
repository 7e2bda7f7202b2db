#include "backend/ascend/device.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "backend/ascend/status.h"

namespace agentinfer {
namespace {

constexpr int kSliceMs = 100;            // between two looks at on_wait
constexpr int kReleaseTimeoutMs = 5000;  // for what is still queued when memory is freed

std::string in_mib(size_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

AscendDevice::AscendDevice(const Cann& cann, int id, int timeout_ms)
    : cann_(cann), id_(id), timeout_ms_(timeout_ms) {
  const std::string about = "npu:" + std::to_string(id);
  check_acl(rt(), rt().aclrtSetDevice(id), "aclrtSetDevice", about);
  // Without this, overflow clamps to the largest number and infinities never show.
  int status = rt().aclrtSetDeviceSatMode(acl::kInfNan);
  const char* call = "aclrtSetDeviceSatMode";
  if (status == 0) {
    call = "aclrtCreateStreamWithConfig";
    status = rt().aclrtCreateStreamWithConfig(&stream_, 0, acl::kStreamFastLaunch | acl::kStreamFastSync);
  }
  if (status == 0) return;
  const std::string device = recent_message(rt());
  rt().aclrtResetDevice(id);
  throw AclError(ErrorCode::kDevice, status,
                 std::string(call) + " (" + about + ") failed with " + std::to_string(status) + ": " +
                     status_meaning(status) + (device.empty() ? "" : ". CANN says: " + device));
}

AscendDevice::~AscendDevice() {
  settle();
  for (const acl::aclrtStream stream : {update_stream_, stream_}) {
    if (stream == nullptr) continue;
    // A plain destroy waits for what is queued.
    if (alive())
      rt().aclrtDestroyStream(stream);
    else
      rt().aclrtDestroyStreamForce(stream);
  }
  rt().aclrtResetDevice(id_);
  recent_message(rt());
}

acl::aclrtStream AscendDevice::update_stream() {
  if (update_stream_ == nullptr)
    check(rt().aclrtCreateStreamWithConfig(&update_stream_, 0, acl::kStreamFastLaunch | acl::kStreamFastSync),
          "aclrtCreateStreamWithConfig");
  return update_stream_;
}

void AscendDevice::check(int status, const char* call, const std::string& about) {
  if (status == 0) return;
  try {
    check_acl(rt(), status, call, about);
  } catch (const AclError& error) {
    if (error.fatal()) kill(error.what());
    throw;
  }
}

void AscendDevice::kill(const std::string& reason) {
  if (!dead_.empty()) return;
  dead_ = reason;
}

void AscendDevice::ensure_alive() const {
  if (!dead_.empty())
    throw Error(ErrorCode::kDevice, "npu:" + std::to_string(id_) + " failed before: " + dead_);
}

void AscendDevice::synchronize() {
  ensure_alive();
  if (idle_) return;
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    const auto waited =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start)
            .count();
    const int left = static_cast<int>(timeout_ms_ - waited);
    const int status = rt().aclrtSynchronizeStreamWithTimeout(stream_, std::clamp(left, 1, kSliceMs));
    if (status == 0) break;
    if (status != acl::kWaitTimeout) check(status, "aclrtSynchronizeStreamWithTimeout");
    recent_message(rt());  // "not yet" is no error
    try {
      if (on_wait_) on_wait_();
    } catch (const Error& error) {
      kill(error.what());
      throw;
    }
    if (left > kSliceMs) continue;
    kill("it did not finish within " + std::to_string(timeout_ms_) + " ms");
    ensure_alive();
  }
  idle_ = true;
}

void AscendDevice::settle() noexcept {
  if (idle_) return;
  if (alive()) {
    const int status =
        rt().aclrtSynchronizeStreamWithTimeout(stream_, std::min(timeout_ms_, kReleaseTimeoutMs));
    if (status == 0) {
      idle_ = true;
      return;
    }
    try {
      kill("it did not finish its work before release (status " + std::to_string(status) + ")");
    } catch (...) {
    }
  }
  if (!std::exchange(aborted_, true) && rt().aclrtStreamAbort != nullptr) rt().aclrtStreamAbort(stream_);
  idle_ = true;
}

DeviceMemory::DeviceMemory(AscendDevice& device, size_t bytes, const std::string& what)
    : held_{&device, nullptr, bytes} {
  const int status = device.rt().aclrtMalloc(&held_.at, std::max<size_t>(bytes, 32), acl::kHugeFirst);
  if (status == 0) return;
  held_.at = nullptr;
  size_t free = 0, total = 0;
  const bool known = device.rt().aclrtGetMemInfo(acl::kHbm, &free, &total) == 0;
  device.check(status, "aclrtMalloc",
               in_mib(bytes) + " for " + what + " on npu:" + std::to_string(device.id()) +
                   (known ? ", " + in_mib(free) + " of " + in_mib(total) + " free" : ""));
}

void DeviceMemory::zero(size_t offset, size_t bytes) {
  held_.device->busy();
  held_.device->check(
      held_.device->rt().aclrtMemsetAsync(at(offset), bytes, 0, bytes, held_.device->stream()),
      "aclrtMemsetAsync");
}

void DeviceMemory::reset() noexcept {
  if (held_.at == nullptr) return;
  held_.device->settle();
  held_.device->rt().aclrtFree(std::exchange(held_.at, nullptr));
  held_.bytes = 0;
}

PinnedMemory::PinnedMemory(AscendDevice& device, size_t bytes, const std::string& what)
    : held_{&device, nullptr, bytes} {
  const int status = device.rt().aclrtMallocHost(&held_.at, std::max<size_t>(bytes, 32));
  if (status != 0) held_.at = nullptr;
  device.check(status, "aclrtMallocHost", in_mib(bytes) + " of pinned host memory for " + what);
}

void PinnedMemory::reset() noexcept {
  if (held_.at == nullptr) return;
  held_.device->settle();
  held_.device->rt().aclrtFreeHost(std::exchange(held_.at, nullptr));
  held_.bytes = 0;
}

namespace {

void copy(AscendDevice& device, void* to, const void* from, size_t bytes, acl::aclrtMemcpyKind kind) {
  device.busy();
  device.check(device.rt().aclrtMemcpyAsync(to, bytes, from, bytes, kind, device.stream()),
               "aclrtMemcpyAsync", std::to_string(bytes) + " bytes");
}

}  // namespace

void copy_to_device(AscendDevice& device, void* to, const void* from, size_t bytes) {
  copy(device, to, from, bytes, acl::kHostToDevice);
}
void copy_to_host(AscendDevice& device, void* to, const void* from, size_t bytes) {
  copy(device, to, from, bytes, acl::kDeviceToHost);
}
void copy_on_device(AscendDevice& device, void* to, const void* from, size_t bytes) {
  copy(device, to, from, bytes, acl::kDeviceToDevice);
}

}  // namespace agentinfer
