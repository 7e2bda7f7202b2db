// Initialisation, versions, error text.

#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "abi/acl_rt.h"
#include "control/api.h"
#include "control/config.h"
#include "control/lifecycle.h"
#include "runtime/context.h"
#include "runtime/stream.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;

std::string read_json(const char* path) {
  if (!path) return {};
  std::ifstream in(path);
  require(in.good(), ACL_ERROR_INVALID_FILE, "cannot read ", path);
  std::string json{std::istreambuf_iterator<char>(in), {}};
  std::erase_if(json, [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; });
  return json == "{}" ? std::string() : json;
}

// major*10^7 + minor*10^5 + patch*10^3, less a weight for what comes before the release.
int32_t version_number(const std::string& version) {
  int parts[3] = {0, 0, 0};
  int part = 0;
  bool candidate = false;
  for (size_t i = 0; i < version.size() && part < 3; ++i) {
    if (version[i] == '.')
      ++part;
    else if (version.compare(i, 2, "RC") == 0)
      candidate = true, ++i, part = 2;
    else if (version[i] >= '0' && version[i] <= '9' && !candidate)
      parts[part] = parts[part] * 10 + (version[i] - '0');
  }
  return parts[0] * 10000000 + parts[1] * 100000 + parts[2] * 1000 - (candidate ? 100 : 0);
}

std::string package_version(const std::string& name) {
  if (name == "driver") return config().driver_version;
  for (const char* known :
       {"CANN", "runtime", "compiler", "hccl", "toolkit", "opp", "opp_kernel", "ops", "opbase"})
    if (name == known) return config().version;
  decline(ACL_ERROR_INVALID_FILE, "package ", name, " is not installed");
}

void copy_text(char* to, size_t room, const std::string& from) {
  const size_t n = std::min(room - 1, from.size());
  std::memcpy(to, from.data(), n);
  to[n] = 0;
}

}  // namespace

extern "C" {

aclError aclInit(const char* configPath) {
  return api("aclInit", args(configPath), [&] { initialise(read_json(configPath)); });
}

aclError aclFinalize(void) {
  return api("aclFinalize", args(), [&] {
    if (const uint64_t streams = live_streams()) report(text(streams, " streams are alive at aclFinalize"));
    for (int id = 0; id < device_count(); ++id)
      if (device(id).primary) report(text("device ", id, " was not reset before aclFinalize"));
    finalise();
  });
}

aclError aclFinalizeReference(uint64_t* refCount) {
  return api("aclFinalizeReference", args(refCount), [&] {
    const uint64_t left = drop_reference();
    if (refCount) *refCount = left;
  });
}

const char* aclrtGetSocName(void) {
  return api_handle<const char*>("aclrtGetSocName", args(), nullptr, [&]() -> const char* {
    require_initialised();
    return config().soc.c_str();
  });
}

aclError aclrtGetRunMode(aclrtRunMode* runMode) {
  return api("aclrtGetRunMode", args(runMode), [&] {
    require(runMode, kNull, "runMode is null");
    *runMode = ACL_HOST;
  });
}

aclError aclrtGetVersion(int32_t* majorVersion, int32_t* minorVersion, int32_t* patchVersion) {
  return api("aclrtGetVersion", args(majorVersion, minorVersion, patchVersion), [&] {
    require(majorVersion && minorVersion && patchVersion, kNull, "null argument");
    const std::string& v = config().version;
    *majorVersion = 1;
    *minorVersion = compare_versions(v, "9.0.0") >= 0 ? 17 : compare_versions(v, "8.5.0") >= 0 ? 16 : 13;
    *patchVersion = 0;
  });
}

aclError aclsysGetVersionStr(char* pkgName, char* versionStr) {
  return api("aclsysGetVersionStr", args(pkgName, versionStr), [&] {
    require(pkgName && versionStr, kNull, "null argument");
    copy_text(versionStr, 128, package_version(pkgName));
  });
}

aclError aclsysGetVersionNum(char* pkgName, int32_t* versionNum) {
  return api("aclsysGetVersionNum", args(pkgName, versionNum), [&] {
    require(pkgName && versionNum, kNull, "null argument");
    *versionNum = version_number(package_version(pkgName));
  });
}

aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion* version) {
  return api("aclsysGetCANNVersion", args(name, version), [&] {
    require(version, kNull, "version is null");
    require(name >= ACL_PKG_NAME_CANN && name <= ACL_PKG_NAME_DRIVER, kNull, "unknown package ",
            static_cast<int>(name));
    *version = {};
    const std::string full = name == ACL_PKG_NAME_DRIVER ? config().driver_version : config().version;
    copy_text(version->version, sizeof(version->version), full);
    char* fields[] = {version->majorVersion, version->minorVersion, version->releaseVersion,
                      version->patchVersion};
    size_t at = 0;
    for (char* field : fields) {
      const size_t dot = std::min(full.find('.', at), full.size());
      copy_text(field, 64, at < full.size() ? full.substr(at, dot - at) : "");
      at = dot + 1;
    }
  });
}

const char* aclGetRecentErrMsg(void) {
  return take_error_text();
}

aclError aclrtGetLastError(aclrtLastErrLevel) {
  return std::exchange(last_async_error(), 0);
}

aclError aclrtPeekAtLastError(aclrtLastErrLevel) {
  return last_async_error();
}

aclError aclrtSetExceptionInfoCallback(aclrtExceptionInfoCallback callback) {
  return api("aclrtSetExceptionInfoCallback", args(callback != nullptr),
             [&] { set_exception_callback(callback); });
}

uint32_t aclrtGetTaskIdFromExceptionInfo(const aclrtExceptionInfo* info) {
  return info ? info->task : ~0u;
}
uint32_t aclrtGetStreamIdFromExceptionInfo(const aclrtExceptionInfo* info) {
  return info ? info->stream : ~0u;
}
uint32_t aclrtGetThreadIdFromExceptionInfo(const aclrtExceptionInfo* info) {
  return info ? info->thread : ~0u;
}
uint32_t aclrtGetDeviceIdFromExceptionInfo(const aclrtExceptionInfo* info) {
  return info ? info->device : ~0u;
}
uint32_t aclrtGetErrorCodeFromExceptionInfo(const aclrtExceptionInfo* info) {
  return info ? info->code : ~0u;
}

aclError aclrtGetErrorVerbose(int32_t deviceId, aclrtErrorInfo* errorInfo) {
  return api("aclrtGetErrorVerbose", args(deviceId, errorInfo), [&] {
    device(deviceId);
    require(errorInfo, kNull, "errorInfo is null");
    *errorInfo = {};
    const int last = last_async_error();
    errorInfo->errorType =
        last == 0 ? ACL_RT_NO_ERROR
        : last == ACL_ERROR_RT_AICORE_EXCEPTION || last == ACL_ERROR_RT_VECTOR_CORE_EXCEPTION
            ? ACL_RT_ERROR_AICORE
        : last == ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR ? ACL_RT_ERROR_MEMORY
                                                       : ACL_RT_ERROR_OTHERS;
  });
}

aclError aclGetCannAttribute(aclCannAttr cannAttr, int32_t* value) {
  return api("aclGetCannAttribute", args(cannAttr, value), [&] {
    require(value, kNull, "value is null");
    require(cannAttr >= ACL_CANN_ATTR_INF_NAN && cannAttr <= ACL_CANN_ATTR_JIT_COMPILE, kNull,
            "unknown attribute");
    *value = cannAttr != ACL_CANN_ATTR_JIT_COMPILE;
  });
}

aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t* value) {
  return api("aclGetDeviceCapability", args(deviceId, deviceInfo, value), [&] {
    device(static_cast<int>(deviceId));
    require(value, kNull, "value is null");
    switch (deviceInfo) {
      case ACL_DEVICE_INFO_AI_CORE_NUM:
        *value = 20;
        break;
      case ACL_DEVICE_INFO_VECTOR_CORE_NUM:
        *value = 40;
        break;
      case ACL_DEVICE_INFO_L2_SIZE:
        *value = int64_t{192} << 20;
        break;
      default:
        refuse(kNull, "unknown attribute ", static_cast<int>(deviceInfo));
    }
  });
}

}  // extern "C"
