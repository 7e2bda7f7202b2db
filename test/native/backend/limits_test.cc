#include "backend/cpu/limits.h"

#include "backend/cpu/cpu_backend.h"
#include "support.h"

using namespace agentinfer;
using namespace agentinfer::testing;

TEST("every instruction set's limits can be measured") {
  on_every_isa([](const std::string& isa) {
    const MachineLimits limits = measure_limits(2, isa, 1);
    for (const double rate : {limits.read_bytes_per_s, limits.fma_flops_per_s, limits.int8_ops_per_s}) {
      CHECK(rate > 1e6);
      CHECK(rate < 1e16);  // a loop that was optimised away would be faster than this
    }
  });
}

TEST("limits of an unknown instruction set are refused") {
  CHECK_THROWS(LimitsMeter(1, "sse9"), ErrorCode::kInvalidArgument, "sse9");
}

TEST("threads 0 are all that this process may use; a count out of range is refused") {
  CHECK_EQ(LimitsMeter(0, "").threads(), default_threads());
  CHECK_EQ(LimitsMeter(3, "").threads(), 3);
  for (const int threads : {-1, kMaxThreads + 1})
    CHECK_THROWS(LimitsMeter(threads, ""), ErrorCode::kInvalidArgument, "threads: expected 1 to 256");
}

CHECK_MAIN
