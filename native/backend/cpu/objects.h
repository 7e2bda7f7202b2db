#pragma once
// The CPU's forms of the backend's objects.

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/packing.h"

namespace agentinfer {

struct CpuLinear final : Linear {
  explicit CpuLinear(PackedWeights made) : packed(std::move(made)) {
    in_features = packed.k;
    out_features = packed.columns;
    bytes = packed.bytes();
  }
  PackedWeights packed;
};

struct CpuVector final : Vector {
  Memory values;  // f32
};

// Rows of a bf16 table, or columns of a tied head's panels.
struct CpuEmbedding final : Embedding {
  Memory values;
  const PackedWeights* head = nullptr;
};

// Rows of f32, whole panels wide, one cache line more than that so that rows do not fall on the same cache
// sets. Operations may write the padding. Without memory where it is gated_linear's alone (Feeds::kGate).
struct CpuActivation final : Activation {
  CpuActivation(int64_t rows, int64_t width, Feeds feeds);
  float* row(int64_t index) { return values.as<float>() + index * stride; }
  const float* row(int64_t index) const { return values.as<float>() + index * stride; }

  int64_t stride = 0;  // floats
  Memory values;
  // The int8 copy for Feeds::kLinear, made by the first int8 product that reads the activation after it was
  // written.
  int64_t quantized_stride = 0;
  Memory quantized, scales;
  mutable int quantized_rows = 0;
};

// Per layer: K [block][kv_head][block_size / kKeyGroup][head_dim][kKeyGroup] and V
// [block][kv_head][block_size][head_dim]. A host block is the same pieces of all layers, one after the other.
struct CpuKvCache final : KvCache {
  CpuKvCache(const KvLayout& shape, int device_blocks, int host);
  size_t piece() const { return piece_bytes; }  // bytes of K (or V) of one block in one layer
  std::byte* k(int layer, int32_t block) { return at(layer, 0, block); }
  std::byte* v(int layer, int32_t block) { return at(layer, 1, block); }
  void copy(int32_t from, int32_t to);
  void to_host(int32_t block, int32_t slot);
  void from_host(int32_t slot, int32_t block);

  KvType type = KvType::kF16;
  size_t element = 2;  // bytes

 private:
  std::byte* at(int layer, int kind, int32_t block) {
    const size_t index =
        (static_cast<size_t>(layer) * 2 + static_cast<size_t>(kind)) * static_cast<size_t>(blocks) +
        static_cast<size_t>(block);
    return device.as<std::byte>() + index * piece_bytes;
  }
  size_t piece_bytes = 0;
  Memory device, host;
};

}  // namespace agentinfer
