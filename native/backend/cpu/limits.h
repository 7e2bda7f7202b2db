#pragma once
// What this machine can do at most, measured: a figure for a kernel means something only beside these, taken
// in the same run.

#include <cstdint>
#include <string_view>

#include "backend/cpu/dispatch.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_pool.h"

namespace agentinfer {

struct MachineLimits {
  double read_bytes_per_s = 0;  // streaming reads of memory far larger than the caches
  double fma_flops_per_s = 0;   // f32, a multiplication and an addition count as two
  double int8_ops_per_s = 0;    // int8 products with int32 sums, counted alike
};

// One sample a call, some tens of milliseconds each on `threads` threads. Other load on the machine shows in
// a sample: interleave samples with what they are compared to and take medians. Not thread safe.
class LimitsMeter {
 public:
  // Takes 256 MiB. `threads` and `isa` as in CpuOptions; throws as make_cpu_backend does.
  LimitsMeter(int threads, std::string_view isa);
  int threads() const { return pool_.size(); }

  double read_bytes_per_s();
  double fma_flops_per_s();
  double int8_ops_per_s();
  MachineLimits sample() { return {read_bytes_per_s(), fma_flops_per_s(), int8_ops_per_s()}; }

 private:
  template <typename Loop>
  double rate(double work_per_iteration, Loop loop);

  const Kernels kernels_;
  ThreadPool pool_;
  Memory memory_;
  int64_t iterations_ = 1 << 14;
};

// The medians of `samples` samples.
MachineLimits measure_limits(int threads, std::string_view isa, int samples);

}  // namespace agentinfer
