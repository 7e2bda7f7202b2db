#pragma once
// What an engine will take, from config.json alone, before anything is taken: the table that the API returns,
// `inspect` prints and the out-of-memory error carries. Bytes of one rank. Weights follow the CPU's packing
// (columns padded to 64); devices differ from it by less than a percent.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "tensor/dtype.h"

namespace agentinfer {

struct MemoryRequest {
  int ranks = 1;                // tensor parallel size; the plan is for one of them
  bool int8 = false;            // matrices of the layers in int8 with scales; head and embedding stay 16-bit
  size_t activation_bytes = 4;  // an element of the activations: 4 on the CPU, 2 on a device
  DType kv_dtype = DType::kF16;
  int64_t kv_tokens = 0;     // device KV
  size_t host_kv_bytes = 0;  // host tier
  int64_t max_rows = 0;      // of a step
  int64_t max_logit_rows = 0;
};

struct MemoryPlan {
  struct Item {
    std::string name;  // "layer weights", "embedding", "head", "KV cache", "workspace" ...
    size_t bytes = 0;
    std::string detail;  // how it comes about, and the option that changes it
  };
  std::vector<Item> items;
  size_t total = 0;
};

MemoryPlan plan_memory(const ModelConfig& config, const MemoryRequest& request);

// Bytes of K and V for one token on one rank, all layers.
size_t kv_bytes_per_token(const ModelConfig& config, int ranks, DType kv_dtype);

// One line an item, then the total: for messages and terminals.
std::string memory_plan_text(const MemoryPlan& plan);

}  // namespace agentinfer
