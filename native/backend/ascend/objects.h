#pragma once
// The device's forms of the backend's objects. All matrices are bf16 and row-major, [rows][columns]; int8
// weights carry an f32 scale per row.

#include <vector>

#include "backend/ascend/device.h"
#include "backend/backend.h"

namespace agentinfer {

// 16-bit weights have a row of zeros behind the last: a tied embedding's, see AscendEmbedding.
struct AscendLinear final : Linear {
  WeightFormat format = WeightFormat::kBF16;
  DeviceMemory weights;  // [out_features][in_features] bf16 or int8: PyTorch's layout, given to the operators
                         // as a transposed view
  bool nz = false;       // in FRACTAL_NZ instead (upload.h)
  DeviceMemory scale;    // int8: f32 [out_features]
  DeviceMemory
      bias;  // f32 [out_features]; none: no bias. f32 because a bf16 bias costs a cast kernel at every call
};

struct AscendVector final : Vector {
  DeviceMemory values;  // bf16: the fused norms take weights of the activations' type
};

struct AscendEmbedding final : Embedding {
  DeviceMemory values;          // bf16 [rows + 1][cols]; the last row is zero, for tokens of other ranks
  const void* table = nullptr;  // values, or a tied head's weights
};

struct AscendActivation final : Activation {
  DeviceMemory values;  // bf16 [max_rows][cols]
  // Int8 copy for products with int8 weights: by the first of them, or by the norm that wrote the activation.
  DeviceMemory quantized, scales;  // int8 [max_rows][cols], f32 [max_rows]
  mutable int quantized_rows = 0;  // of which `quantized` is up to date
  mutable bool plain = true;       // `values` is up to date; if not, it is the norm of `source`
  const AscendActivation* source = nullptr;
  uint64_t source_version = 0;
  const AscendVector* source_weight = nullptr;
  float source_eps = 0;
  const void* home = nullptr;  // where `values` lay when it was made: the residual's memory changes places
  int written_rows = 0;        // by the last operation
  // Rows on the host, fetched when first asked for after a write.
  uint64_t version = 0;  // counts writes
  mutable uint64_t fetched = ~uint64_t{0};
  mutable std::vector<float> host;  // f32 [written_rows][cols]

  // Whoever wrote `values` says so.
  void written(int rows) {
    written_rows = rows;
    quantized_rows = 0;
    plain = true;
    ++version;
  }
};

// Per layer K and V, each [block][block_size][kv_heads][head_dim] bf16.
struct AscendKvCache final : KvCache {
  struct Layer {
    DeviceMemory k, v;
  };
  std::vector<Layer> parts;
  PinnedMemory host_memory;  // [host block][layer][K, V][piece]
  size_t piece = 0;          // bytes of K (or V) of one block in one layer
  size_t offset(int32_t block) const { return static_cast<size_t>(block) * piece; }
  std::byte* host_piece(int32_t block, size_t layer, int kind) {
    const size_t index = (static_cast<size_t>(block) * parts.size() + layer) * 2 + static_cast<size_t>(kind);
    return host_memory.at(index * piece);
  }
};

}  // namespace agentinfer
