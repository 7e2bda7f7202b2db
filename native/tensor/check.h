#pragma once
// The one error path of the core. Core code throws Error; it is caught in two places only: the engine
// thread's loop and the binding's edge. Destructors neither throw nor abort.

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace agentinfer {

// Each code has a stable name ("ERR_..."), which is what a JavaScript user sees as `error.code`.
enum class ErrorCode {
  kInvalidArgument,   // ERR_INVALID_ARGUMENT: a caller broke a documented contract
  kModelInvalid,      // ERR_MODEL_INVALID: a model file is damaged, hostile or contradicts itself
  kModelUnsupported,  // ERR_MODEL_UNSUPPORTED: well formed, but a network or option we do not run
  kIo,                // ERR_IO: the operating system refused a file operation
  kOutOfMemory,       // ERR_OUT_OF_MEMORY: host or device memory
  kDevice,            // ERR_DEVICE: the device or its runtime failed
  kAborted,           // ERR_ABORTED: the caller asked to stop
  kClosed,            // ERR_CLOSED: the object was closed
  kInternal,          // ERR_INTERNAL: a bug in this package
};

std::string_view error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error with all parts streamed into one message: fail(code, "tensor ", name, ": expected ", a, ", got
// ", b).
template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, Parts&&... parts) {
  std::ostringstream message;
  (message << ... << std::forward<Parts>(parts));
  throw Error(code, message.str());
}

// Throws kInternal unless `condition`. For invariants of our own; a user's mistake deserves `fail` with its
// values.
template <typename... Parts>
void ensure(bool condition, Parts&&... parts) {
  if (!condition) fail(ErrorCode::kInternal, std::forward<Parts>(parts)...);
}

}  // namespace agentinfer
