// Devices.

#include <unistd.h>

#include <cstring>

#include "abi/acl_rt.h"
#include "control/api.h"
#include "control/config.h"
#include "control/counters.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "runtime/context.h"
#include "runtime/event.h"
#include "runtime/stream.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

bool wait_context(Context& context, int64_t timeout_ms) {
  count(Count::kDeviceSyncs);
  return wait_streams_of(context, timeout_ms);
}

// Any context of the device, for calls that name a device instead of using the current one.
void abort_streams(int id) {
  Device& d = device(id);
  d.aborting = true;
  Context* primary;
  {
    const std::lock_guard lock(d.mutex);
    primary = d.primary;
  }
  if (primary) abort_streams_of(*primary);
  d.aborting = false;
}

}  // namespace

extern "C" {

aclError aclrtSetDevice(int32_t deviceId) {
  return api("aclrtSetDevice", args(deviceId), [&] { bind_device(deviceId); });
}

aclError aclrtResetDevice(int32_t deviceId) {
  return api("aclrtResetDevice", args(deviceId), [&] { release_device(deviceId, false); });
}

aclError aclrtResetDeviceForce(int32_t deviceId) {
  return api("aclrtResetDeviceForce", args(deviceId), [&] { release_device(deviceId, true); });
}

aclError aclrtGetDevice(int32_t* deviceId) {
  return api("aclrtGetDevice", args(deviceId), [&] {
    require(deviceId, kNull, "deviceId is null");
    Context* context = current_context_or_null();
    if (!context) decline(ACL_ERROR_RT_CONTEXT_NULL, "the thread has no current context");
    *deviceId = context->device;
  });
}

aclError aclrtGetDeviceCount(uint32_t* count) {
  return api("aclrtGetDeviceCount", args(count), [&] {
    require(count, kNull, "count is null");
    *count = static_cast<uint32_t>(device_count());
  });
}

aclError aclrtSynchronizeDevice(void) {
  return api("aclrtSynchronizeDevice", args(), [&] {
    Context& context = current_context();
    refuse_if_device_captured(context);
    wait_context(context, -1);
    check_health(context);
  });
}

aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout) {
  return api("aclrtSynchronizeDeviceWithTimeout", args(timeout), [&] {
    require(timeout == -1 || timeout > 0, kBad, "timeout must be -1 or positive, is ", timeout);
    Context& context = current_context();
    refuse_if_device_captured(context);
    if (!wait_context(context, timeout))
      decline(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "not finished after ", timeout, " ms");
    check_health(context);
  });
}

aclError aclrtQueryDeviceStatus(int32_t deviceId, aclrtDeviceStatus* deviceStatus) {
  return api("aclrtQueryDeviceStatus", args(deviceId, deviceStatus), [&] {
    device(deviceId);
    require(deviceStatus, kNull, "deviceStatus is null");
    *deviceStatus = lost_code(deviceId) ? ACL_RT_DEVICE_STATUS_ABNORMAL : ACL_RT_DEVICE_STATUS_NORMAL;
  });
}

aclError aclrtGetDeviceUtilizationRate(int32_t deviceId, aclrtUtilizationInfo* utilizationInfo) {
  return api("aclrtGetDeviceUtilizationRate", args(deviceId, utilizationInfo), [&] {
    device(deviceId);
    require(utilizationInfo, kNull, "utilizationInfo is null");
    require(!utilizationInfo->utilizationExtend, kNull, "utilizationExtend must be null");
    *utilizationInfo = {0, 0, 0, -1, nullptr};
  });
}

aclError aclrtGetDeviceInfo(uint32_t deviceId, aclrtDevAttr attr, int64_t* value) {
  return api("aclrtGetDeviceInfo", args(deviceId, attr, value), [&] {
    device(static_cast<int>(deviceId));
    require(value, kNull, "value is null");
    switch (static_cast<int>(attr)) {
      case ACL_DEV_ATTR_AICPU_CORE_NUM:
        *value = 4;
        break;
      case ACL_DEV_ATTR_AICORE_CORE_NUM:
      case ACL_DEV_ATTR_CUBE_CORE_NUM:
        *value = 20;
        break;
      case ACL_DEV_ATTR_VECTOR_CORE_NUM:
        *value = 40;
        break;
      case ACL_DEV_ATTR_UBUF_PER_VECTOR_CORE:
        *value = 192 << 10;
        break;
      case ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE:
        *value = static_cast<int64_t>(config().hbm_bytes.load());
        break;
      case ACL_DEV_ATTR_L2_CACHE_SIZE:
        *value = int64_t{192} << 20;
        break;
      case ACL_DEV_ATTR_PHY_CHIP_ID:
        *value = config().devices[deviceId];
        break;
      case ACL_DEV_ATTR_IS_VIRTUAL:
        *value = 0;
        break;
      default:
        decline(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "attribute ", static_cast<int>(attr), " is not known here");
    }
  });
}

aclError aclrtDeviceCanAccessPeer(int32_t* canAccessPeer, int32_t deviceId, int32_t peerDeviceId) {
  return api("aclrtDeviceCanAccessPeer", args(canAccessPeer, deviceId, peerDeviceId), [&] {
    device(deviceId);
    device(peerDeviceId);
    require(canAccessPeer, kNull, "canAccessPeer is null");
    require(deviceId != peerDeviceId, kBad, "both devices are the same");
    *canAccessPeer = 1;
  });
}

aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t flags) {
  return api("aclrtDeviceEnablePeerAccess", args(peerDeviceId, flags), [&] {
    Context& context = current_context();
    device(peerDeviceId);
    require(flags == 0, ACL_ERROR_FEATURE_UNSUPPORTED, "flags must be 0");
    require(peerDeviceId != context.device, kBad, "the peer is the current device");
    Device& d = device(context.device);
    const std::lock_guard lock(d.mutex);
    d.peers[peerDeviceId] = true;
  });
}

aclError aclrtDeviceDisablePeerAccess(int32_t peerDeviceId) {
  return api("aclrtDeviceDisablePeerAccess", args(peerDeviceId), [&] {
    Device& d = device(current_context().device);
    device(peerDeviceId);
    const std::lock_guard lock(d.mutex);
    require(d.peers.erase(peerDeviceId) > 0, kBad, "access to device ", peerDeviceId, " was not enabled");
  });
}

aclError aclrtDevicePeerAccessStatus(int32_t deviceId, int32_t peerDeviceId, int32_t* status) {
  return api("aclrtDevicePeerAccessStatus", args(deviceId, peerDeviceId, status), [&] {
    Device& d = device(deviceId);
    device(peerDeviceId);
    require(status, kNull, "status is null");
    const std::lock_guard lock(d.mutex);
    *status = d.peers.contains(peerDeviceId);
  });
}

aclError aclrtDeviceTaskAbort(int32_t deviceId, uint32_t timeout) {
  return api("aclrtDeviceTaskAbort", args(deviceId, timeout), [&] { abort_streams(deviceId); });
}

aclError aclrtGetPhyDevIdByLogicDevId(const int32_t logicDevId, int32_t* const phyDevId) {
  return api("aclrtGetPhyDevIdByLogicDevId", args(logicDevId, phyDevId), [&] {
    require(phyDevId, kNull, "phyDevId is null");
    *phyDevId = logicDevId;
  });
}

aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t* const logicDevId) {
  return api("aclrtGetLogicDevIdByUserDevId", args(userDevid, logicDevId), [&] {
    device(userDevid);
    require(logicDevId, kNull, "logicDevId is null");
    *logicDevId = config().devices[static_cast<size_t>(userDevid)];
  });
}

aclError aclrtGetPhyDevIdByUserDevId(const int32_t userDevId, int32_t* const phyDevId) {
  return api("aclrtGetPhyDevIdByUserDevId", args(userDevId, phyDevId), [&] {
    device(userDevId);
    require(phyDevId, kNull, "phyDevId is null");
    *phyDevId = config().devices[static_cast<size_t>(userDevId)];
  });
}

aclError aclrtDeviceGetUuid(int32_t deviceId, aclrtUuid* uuid) {
  return api("aclrtDeviceGetUuid", args(deviceId, uuid), [&] {
    device(deviceId);
    require(uuid, kNull, "uuid is null");
    *uuid = {};
    const std::string id = "emulated-" + std::to_string(config().devices[static_cast<size_t>(deviceId)]);
    std::memcpy(uuid->bytes, id.data(), std::min(id.size(), sizeof(uuid->bytes)));
  });
}

aclError aclrtDeviceGetBareTgid(int32_t* pid) {
  return api("aclrtDeviceGetBareTgid", args(pid), [&] {
    require(pid, kNull, "pid is null");
    *pid = getpid();
  });
}

}  // extern "C"
