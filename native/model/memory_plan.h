#pragma once
// What an engine will take, from config.json alone, before anything is taken: the table that the API returns,
// `inspect` prints and the out-of-memory error carries. Bytes of one rank: on the CPU to the byte what its
// objects hold. Weights follow the CPU's packing everywhere; devices differ from it by less than a percent.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"
#include "tensor/dtype.h"

namespace agentinfer {

struct MemoryRequest {
  int ranks = 1;        // tensor parallel size; the plan is for one of them
  bool int8 = false;    // matrices of the layers in int8 with scales; head and embedding stay 16-bit
  int cpu_threads = 1;  // of the rank; 0: it is an NPU's
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
  size_t total = 0;    // of all items
  size_t on_host = 0;  // of the total: the host tier, which is not in a device's memory
};

MemoryPlan plan_memory(const ModelConfig& config, const MemoryRequest& request);

// A card of a group, filled: what system and weights leave is KV.
struct CardRequest {
  int ranks = 1;  // cards
  bool int8 = false;
  int64_t context = 0;     // tokens a sequence may have; 0: max_position_embeddings
  int64_t max_rows = 512;  // of a step
  int64_t max_logit_rows = 128;
  int block_size = 128;                  // tokens; KV comes in whole blocks
  size_t card_bytes = size_t{61} << 30;  // what an Atlas 800T A2 (64 GB) reports
};

struct CardPlan {
  MemoryPlan plan;        // of one card; its total is at most card_bytes unless something is missing
  int64_t context = 0;    // as asked, or the model's own
  int64_t kv_tokens = 0;  // in whole blocks
  int64_t contexts = 0;   // full contexts that have room at the same time
  size_t missing = 0;     // bytes a card is short of before one full context has room
};

// Throws kInvalidArgument where the network does not divide by the cards (model/shards.h) or a number is out
// of range. What is not in config.json is assumed, and says so in its item: the system's share, CANN's,
// HCCL's and the operators'.
CardPlan plan_card(const ModelConfig& config, const CardRequest& request);

// Bytes of K and V for one token on one rank, all layers.
size_t kv_bytes_per_token(const ModelConfig& config, int ranks, DType kv_dtype);

// One line an item, then the total: for messages and terminals.
std::string memory_plan_text(const MemoryPlan& plan);

}  // namespace agentinfer
