#pragma once
// CANN, opened at run time. Nothing here links against it: a host without CANN loads the same binary and gets
// a clear error only when an NPU is asked for.
//
// The libraries are opened on first use and never closed: they start threads and register exit, fork and
// signal handlers as they load. The signal handlers they replace are put back before this returns, so that
// Node keeps its own. The tables are written once, under a lock, and constant afterwards; they are the only
// state the process shares.

#include <string>
#include <vector>

#include "backend/ascend/acl_functions.h"

namespace agentinfer {

struct Cann {
  acl::RuntimeFunctions rt;
  acl::OperatorFunctions op;
  std::string folder;   // of libascendcl.so, as the dynamic linker found it
  std::string version;  // of the runtime package, e.g. "9.1.0"; "unknown" where no source tells it
  std::vector<std::string> absent;  // optional symbols that are not there
};

inline constexpr const char* kMinimumCann = "8.5.0";

// The opened installation. First call: opens libascendcl.so (or libacl_rt.so), libnnopbase.so and libopapi.so
// or its split family: by bare name (LD_LIBRARY_PATH, as set_env.sh leaves it), then under $ASCEND_HOME_PATH,
// $ASCEND_TOOLKIT_HOME and the default folders. Initialises ACL. Throws kDevice that says what was looked for
// and what to do: not installed, driver library missing, link-time stubs, older than kMinimumCann, a required
// symbol missing, no device. The answer, good or bad, is remembered. Any thread.
const Cann& cann();

// libhccl.so (and libhcomm.so), opened on first use. Throws kDevice. Any thread.
const acl::HcclFunctions& hccl();

// What `doctor` shows. Never throws; loads the libraries if they are there.
struct CannReport {
  bool loaded = false;
  std::string problem;  // the error's text; empty when all is well
  std::string folder, version, driver, soc;
  std::vector<std::string> absent;
  int devices = 0;
  struct Device {
    int id = 0;
    size_t free = 0, total = 0;  // bytes of device memory
    std::string problem;
  };
  std::vector<Device> list;
};
CannReport examine_cann();

// Devices this process sees. Throws kDevice.
int device_count(const Cann& cann);
// Bytes. Binds the calling thread to the device for the call. 0 where it cannot be told.
size_t free_device_memory(const Cann& cann, int device);

// "8.1.RC1" < "8.5.0": numbers compared one by one, a release candidate, alpha or beta before its release.
int compare_versions(const std::string& a, const std::string& b);

}  // namespace agentinfer
