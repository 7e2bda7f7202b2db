#include "backend/cpu/objects.h"

#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr int64_t kRowGap = 16, kInt8RowGap = 64;  // elements between rows
constexpr size_t kReadPastEnd = 256;  // bytes a kernel may load (not use) behind the last value vector

KvType kv_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return KvType::kF16;
    case DType::kBF16:
      return KvType::kBF16;
    case DType::kF32:
      return KvType::kF32;
    default:
      fail(ErrorCode::kInvalidArgument, "KV cache: expected F16, BF16 or F32, got ", dtype_name(dtype));
  }
}

int64_t whole_panels(int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

}  // namespace

size_t cpu_activation_bytes(int64_t rows, int64_t cols, Feeds feeds) {
  if (feeds == Feeds::kGate) return 0;
  const int64_t padded = whole_panels(cols), f32 = sizeof(float);
  const int64_t int8 = feeds == Feeds::kLinear ? padded + kInt8RowGap + f32 : 0;
  return static_cast<size_t>(rows * ((padded + kRowGap) * f32 + int8));
}

CpuActivation::CpuActivation(int64_t rows, int64_t width, Feeds feeds) {
  max_rows = rows;
  cols = width;
  if (feeds == Feeds::kGate) return;  // gated_linear has gate and up in pieces
  const int64_t padded = whole_panels(width);
  stride = padded + kRowGap;
  values = Memory(static_cast<size_t>(rows * stride) * sizeof(float), "activations");
  if (feeds == Feeds::kLinear) {
    quantized_stride = padded + kInt8RowGap;
    quantized = Memory(static_cast<size_t>(rows * quantized_stride), "activations");
    scales = Memory(static_cast<size_t>(rows) * sizeof(float), "activations");
  }
  bytes = values.bytes() + quantized.bytes() + scales.bytes();
}

CpuKvCache::CpuKvCache(const KvLayout& shape, int device_blocks, int host_count) {
  layout = shape;
  blocks = device_blocks;
  host_blocks = host_count;
  type = kv_type(shape.dtype);
  element = dtype_size(shape.dtype);
  piece_bytes = kv_bytes_per_block(shape) / (size_t{2} * static_cast<size_t>(shape.layers));
  bytes = kv_bytes_per_block(shape) * static_cast<size_t>(blocks);
  host_bytes = kv_bytes_per_block(shape) * static_cast<size_t>(host_blocks);
  device = Memory(bytes + kReadPastEnd, "KV cache (lower kvTokens)");
  host = Memory(host_bytes, "host KV (lower hostKvBytes)");
}

void CpuKvCache::copy(int32_t from, int32_t to) {
  for (int layer = 0; layer < layout.layers; ++layer)
    for (int kind = 0; kind < 2; ++kind) std::memcpy(at(layer, kind, to), at(layer, kind, from), piece_bytes);
}

void CpuKvCache::to_host(int32_t block, int32_t slot) {
  std::byte* to = host.as<std::byte>() + static_cast<size_t>(slot) * kv_bytes_per_block(layout);
  for (int layer = 0; layer < layout.layers; ++layer)
    for (int kind = 0; kind < 2; ++kind, to += piece_bytes)
      std::memcpy(to, at(layer, kind, block), piece_bytes);
}

void CpuKvCache::from_host(int32_t slot, int32_t block) {
  const std::byte* from = host.as<std::byte>() + static_cast<size_t>(slot) * kv_bytes_per_block(layout);
  for (int layer = 0; layer < layout.layers; ++layer)
    for (int kind = 0; kind < 2; ++kind, from += piece_bytes)
      std::memcpy(at(layer, kind, block), from, piece_bytes);
}

}  // namespace agentinfer
