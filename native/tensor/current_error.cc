#include "tensor/current_error.h"

#include <exception>
#include <new>

namespace agentinfer {

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kOutOfMemory, "host memory ran out"};
  } catch (const std::exception& error) {
    return {ErrorCode::kInternal, error.what()};
  } catch (...) {
    return {ErrorCode::kInternal, "an exception that is none of the standard library's"};
  }
}

}  // namespace agentinfer
