#include "backend/backend.h"

namespace agentinfer {

size_t kv_bytes_per_block(const KvLayout& layout) {
  return size_t{2} * static_cast<size_t>(layout.layers) * static_cast<size_t>(layout.kv_heads) *
         static_cast<size_t>(layout.head_dim) * static_cast<size_t>(layout.block_size) *
         dtype_size(layout.dtype);
}

}  // namespace agentinfer
