#pragma once
// CANN's status codes as typed errors: the call, the code, its plain meaning, what to do, and the device's
// own last message.

#include <string>

#include "backend/ascend/acl_functions.h"
#include "tensor/check.h"

namespace agentinfer {

// A failed call. code() is kOutOfMemory for exhausted device or pinned memory, else kDevice.
class AclError : public Error {
 public:
  AclError(ErrorCode code, int status, const std::string& message) : Error(code, message), status_(status) {}
  int status() const { return status_; }
  // The context or device is unusable from here on; later calls would only repeat the code.
  bool fatal() const;

 private:
  int status_;
};

// One sentence: what the code means and, where we know, what to do. Codes of the runtime, ACL and aclnn
// layers.
std::string status_meaning(int status);
std::string hccl_meaning(int status);

// Throws AclError unless status is 0. Reads (and so clears) the calling thread's pending message.
void check_acl(const acl::RuntimeFunctions& rt, int status, const char* call, const std::string& about = {});
void check_hccl(const acl::RuntimeFunctions& rt, int status, const char* call);

// The calling thread's pending message, one line, at most 2000 characters; empty when there is none.
std::string recent_message(const acl::RuntimeFunctions& rt);

}  // namespace agentinfer
