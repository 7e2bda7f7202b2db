#include "backend/ascend/status.h"

#include <algorithm>
#include <iterator>

namespace agentinfer {
namespace {

struct Meaning {
  int status;
  const char* text;
};

// Sorted by code.
constexpr Meaning kMeanings[] = {
    {100000, "invalid argument (a bug of this package: please report it with this message)"},
    {100001, "ACL is not initialised"},
    {100002, "ACL was initialised before"},
    {100037, "ACL was finalised before"},
    {100039,
     "a link-time stub library was loaded: there is no Ascend driver on this host, or a devlib or stub "
     "folder comes first in LD_LIBRARY_PATH"},
    {107000, "invalid argument (a bug of this package: please report it with this message)"},
    {107001, "no such device: check ASCEND_RT_VISIBLE_DEVICES, after which devices are numbered from 0"},
    {107002, "the calling thread is bound to no device"},
    {107003, "stream or event of another device context"},
    {107019, "waiting timed out"},
    {107020, "a task timed out"},
    {107022, "the device's work is being aborted"},
    {107023, "the stream was aborted"},
    {107025, "a stream was not joined back before the capture ended"},
    {107027, "the call is not allowed on a stream in capture"},
    {107030, "the call is not allowed while a graph is captured"},
    {107037, "the graph is still running"},
    {161001, "a required argument of an operator is null (a bug of this package)"},
    {161002, "an operator refused a type, shape or attribute"},
    {200000, "host memory ran out inside the runtime"},
    {200006, "the feature is not supported by this product or driver"},
    {207000, "the feature is not supported by this product or driver"},
    {207001, "device memory ran out: lower kvTokens or maxBatchTokens, use weights: 'int8', or more devices"},
    {207004, "no device"},
    {207005, "a device resource ran out (streams?): turn graphs off or use fewer engines on this device"},
    {207006, "no permission: the user must be in the group HwHiAiUser, or root"},
    {207007, "the device has no events left"},
    {207008, "the device has no streams left: turn graphs off or use fewer engines on this device"},
    {207018, "device memory ran out: lower kvTokens or maxBatchTokens, use weights: 'int8', or more devices"},
    {207019, "this driver cannot update captured tasks: it must be 25.0.RC1 or newer"},
    {361001, "a runtime call inside an operator failed"},
    {500000, "the device could not be initialised: busy, being reset, or without driver"},
    {507007, "device reset without set"},
    {507010, "the connection to the device was lost"},
    {507011, "a task inside a captured graph failed"},
    {507014, "an operator ran longer than the device allows"},
    {507015, "exception on a cube core: a bad address or shape"},
    {507017, "an AI CPU task ran longer than the device allows"},
    {507018, "exception on an AI CPU"},
    {507033,
     "the device could not be opened: busy, being reset, out of memory, or driver and CANN do not fit each "
     "other"},
    {507034, "an operator ran longer than the device allows"},
    {507035, "exception on a vector core: a bad address or shape"},
    {507046, "the host's wait for the stream timed out"},
    {507047, "the host's wait for an event timed out"},
    {507048, "a device wait timed out: a collective's peer did not come"},
    {507053, "hardware memory error"},
    {507054, "hardware memory error"},
    {507899, "driver error: device numbers mixed up, driver and CANN that do not fit, or a device reset"},
    {507901, "the connection to the device was lost"},
    {507903, "the capture was spoilt by a call that is not allowed in it"},
    {561000, "an operator failed inside"},
    {561001, "an operator could not infer its shapes"},
    {561002, "an operator's tiling refused the shape"},
    {561003, "no kernel for this chip: the operator (kernels) package of CANN is missing"},
    {561103,
     "no kernel binary could be chosen: the operator (kernels) package of CANN is missing or of another "
     "release"},
    {561107, "ASCEND_OPP_PATH is not set: source set_env.sh"},
    {561112, "the operator (kernels) package of CANN is not installed"},
};

constexpr const char* kHcclMeanings[] = {"success",
                                         "invalid argument",
                                         "null pointer",
                                         "memory",
                                         "internal error (one rank failed?)",
                                         "not supported",
                                         "not found",
                                         "unavailable (a port in use: another process on this card?)",
                                         "a system call failed",
                                         "timed out: a rank did not come in time",
                                         "a file could not be opened",
                                         "TCP connection failed",
                                         "RoCE connection failed",
                                         "TCP transfer failed",
                                         "RoCE transfer failed",
                                         "runtime call failed",
                                         "driver call failed",
                                         "profiling call failed",
                                         "CCE call failed",
                                         "network call failed",
                                         "still in use, try again",
                                         "a remote rank failed",
                                         "the communicator is suspending",
                                         "retry failed",
                                         "out of memory"};

bool out_of_memory(int status) {
  return status == 207001 || status == 207018 || status == 200000;
}

}  // namespace

bool AclError::fatal() const {
  if (status() == acl::kWaitTimeout || status() == acl::kEventTimeout) return false;  // only "not yet"
  return (status() >= 507000 && status() < 508000 && status() != 507007) || status() == 107022 ||
         status() == 107023;
}

std::string status_meaning(int status) {
  const auto at = std::lower_bound(std::begin(kMeanings), std::end(kMeanings), status,
                                   [](const Meaning& meaning, int code) { return meaning.status < code; });
  if (at != std::end(kMeanings) && at->status == status) return at->text;
  if (status >= 507000 && status < 508000) return "a device or asynchronous failure";
  if (status >= 561100 && status < 561200) return "the operator packages of CANN are incomplete";
  if (status >= 207000 && status < 208000) return "a device resource or feature is not available";
  return "see the error code list of CANN";
}

std::string hccl_meaning(int status) {
  const bool known = status >= 0 && status < static_cast<int>(std::size(kHcclMeanings));
  return known ? kHcclMeanings[status] : "unknown";
}

std::string recent_message(const acl::RuntimeFunctions& rt) {
  const char* pending = rt.aclGetRecentErrMsg == nullptr ? nullptr : rt.aclGetRecentErrMsg();
  if (pending == nullptr) return {};
  std::string text(pending);
  for (char& c : text)
    if (c == '\n' || c == '\t' || c == '\r') c = ' ';
  if (text.size() > 2000) text = text.substr(0, 2000) + " ...";
  return text;
}

void check_acl(const acl::RuntimeFunctions& rt, int status, const char* call, const std::string& about) {
  if (status == 0) return;
  std::string message = std::string(call) + (about.empty() ? "" : " (" + about + ")") + " failed with " +
                        std::to_string(status) + ": " + status_meaning(status);
  const std::string device = recent_message(rt);
  if (!device.empty()) message += ". CANN says: " + device;
  throw AclError(out_of_memory(status) ? ErrorCode::kOutOfMemory : ErrorCode::kDevice, status, message);
}

void check_hccl(const acl::RuntimeFunctions& rt, int status, const char* call) {
  if (status == 0) return;
  std::string message =
      std::string(call) + " failed with HCCL " + std::to_string(status) + ": " + hccl_meaning(status);
  const std::string device = recent_message(rt);
  if (!device.empty()) message += ". CANN says: " + device;
  throw AclError(status == 24 ? ErrorCode::kOutOfMemory : ErrorCode::kDevice, status, message);
}

}  // namespace agentinfer
