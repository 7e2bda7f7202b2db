#pragma once
// The CPU backend: f32 activations, bf16 or int8 weights in panels, paged KV, a thread pool of its own.
// Results are bit-identical for every batch, chunking and thread count within one instruction set
// (backend.h).

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/fetch_rule.h"

namespace agentinfer {

struct CpuOptions {
  int threads = 0;  // 1..256; 0: default_threads()
  std::string isa;  // empty: the best; see available_isas()
  FetchRule fetch = fetch_rule();
};

class CpuBackend : public Backend {
 public:
  virtual const std::string& isa() const = 0;
  virtual int threads() const = 0;
};

// What a backend of so many threads will take, for plans: an activation's bytes, and what `prepare` returns.
size_t cpu_activation_bytes(int64_t rows, int64_t cols, Feeds feeds);
size_t cpu_work_bytes(int64_t max_rows, const AttentionShape& attention, int threads);

inline constexpr int kMaxThreads = 256;

// The cores this process may use: those it may run on, or fewer where the CPU quota of a control group (v2)
// that it is in is lower. 1..kMaxThreads.
int default_threads();

// The thread count that CpuOptions::threads means. Throws kInvalidArgument where it is out of range.
int thread_count(int threads);

// Throws kInvalidArgument for a thread count out of range or an instruction set this machine lacks.
std::unique_ptr<CpuBackend> make_cpu_backend(const CpuOptions& options);

}  // namespace agentinfer
