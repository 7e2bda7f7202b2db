// Contexts, options and numeric mode.

#include <map>
#include <mutex>

#include "abi/acl_rt.h"
#include "control/api.h"
#include "runtime/context.h"
#include "runtime/stream.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

std::map<int64_t, int64_t>& process_options() {
  static auto* options = new std::map<int64_t, int64_t>;
  return *options;
}
std::mutex g_options_mutex;

}  // namespace

extern "C" {

aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId) {
  return api("aclrtCreateContext", args(context, deviceId), [&] {
    require_initialised();
    require(context, kNull, "context is null");
    device(deviceId);
    Context* made = new_context(deviceId, false);
    set_current_context(made);
    *context = made;
  });
}

aclError aclrtDestroyContext(aclrtContext context) {
  return api("aclrtDestroyContext", args(context), [&] {
    require(context, kNull, "context is null");
    Context* found = checked_context(context);
    require(!found->primary, ACL_ERROR_RT_CONTEXT_NULL, "the primary context cannot be destroyed");
    kill_context(*found);
  });
}

aclError aclrtSetCurrentContext(aclrtContext context) {
  return api("aclrtSetCurrentContext", args(context), [&] {
    require(context, kNull, "context is null");
    set_current_context(checked_context(context));
  });
}

aclError aclrtGetCurrentContext(aclrtContext* context) {
  return api("aclrtGetCurrentContext", args(context), [&] {
    require(context, kNull, "context is null");
    Context* current = current_context_or_null();
    if (!current) decline(ACL_ERROR_RT_CONTEXT_NULL, "the thread has no current context");
    *context = current;
  });
}

aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t* flags, int32_t* active) {
  return api("aclrtGetPrimaryCtxState", args(deviceId, flags, active), [&] {
    Device& d = device(deviceId);
    const std::lock_guard lock(d.mutex);
    if (flags) *flags = 0;
    if (active) *active = d.primary != nullptr;
  });
}

aclError aclrtCtxGetCurrentDefaultStream(aclrtStream* stream) {
  return api("aclrtCtxGetCurrentDefaultStream", args(stream), [&] {
    require(stream, kNull, "stream is null");
    *stream = current_context().default_stream.load();
  });
}

aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
  return api("aclrtCtxSetSysParamOpt", args(opt, value), [&] {
    Context& context = current_context();
    const std::lock_guard lock(context.mutex);
    context.system_options[opt] = value;
  });
}

aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t* value) {
  return api("aclrtCtxGetSysParamOpt", args(opt, value), [&] {
    require(value, kNull, "value is null");
    Context& context = current_context();
    const std::lock_guard lock(context.mutex);
    const auto found = context.system_options.find(opt);
    if (found == context.system_options.end()) decline(ACL_ERROR_RT_SYSPARAMOPT_NOT_SET, "never set");
    *value = found->second;
  });
}

aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
  return api("aclrtSetSysParamOpt", args(opt, value), [&] {
    const std::lock_guard lock(g_options_mutex);
    process_options()[opt] = value;
  });
}

aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t* value) {
  return api("aclrtGetSysParamOpt", args(opt, value), [&] {
    require(value, kNull, "value is null");
    const std::lock_guard lock(g_options_mutex);
    const auto found = process_options().find(opt);
    if (found == process_options().end()) decline(ACL_ERROR_RT_SYSPARAMOPT_NOT_SET, "never set");
    *value = found->second;
  });
}

aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode) {
  return api("aclrtSetDeviceSatMode", args(mode), [&] {
    require(mode == ACL_RT_OVERFLOW_MODE_SATURATION || mode == ACL_RT_OVERFLOW_MODE_INFNAN, kBad,
            "unknown mode");
    device(current_context().device).saturation = mode;
  });
}

aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode* mode) {
  return api("aclrtGetDeviceSatMode", args(mode), [&] {
    require(mode, kNull, "mode is null");
    *mode = static_cast<aclrtFloatOverflowMode>(device(current_context().device).saturation.load());
  });
}

aclError aclrtSetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t value) {
  return api("aclrtSetDeviceResLimit", args(deviceId, type, value), [&] { device(deviceId); });
}

}  // extern "C"
