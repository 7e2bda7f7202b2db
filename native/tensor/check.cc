#include "tensor/check.h"

namespace agentinfer {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "ERR_INVALID_ARGUMENT";
    case ErrorCode::kModelInvalid:
      return "ERR_MODEL_INVALID";
    case ErrorCode::kModelUnsupported:
      return "ERR_MODEL_UNSUPPORTED";
    case ErrorCode::kIo:
      return "ERR_IO";
    case ErrorCode::kOutOfMemory:
      return "ERR_OUT_OF_MEMORY";
    case ErrorCode::kDevice:
      return "ERR_DEVICE";
    case ErrorCode::kAborted:
      return "ERR_ABORTED";
    case ErrorCode::kClosed:
      return "ERR_CLOSED";
    case ErrorCode::kInternal:
      return "ERR_INTERNAL";
  }
  return "ERR_INTERNAL";
}

}  // namespace agentinfer
