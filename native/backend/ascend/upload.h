#pragma once
// Weights from stored tensors to the device: through two pinned buffers in turn, so that reading and
// converting one part overlaps the copy of the other.
//
// FRACTAL_NZ, the layout that the matrix units read, is made here, on the host, as its documentation lays it
// out (aclnnMatmulWeightNz, aclnnQuantMatmulWeightNz): blocks of 16 rows by 32 bytes, a column of blocks
// after the other. With rows in sixteens that is [in_features / c][out_features][c], c = 16 for bf16, 32 for
// int8.

#include <functional>
#include <memory>
#include <vector>

#include "backend/ascend/objects.h"

namespace agentinfer {

class Uploader {
 public:
  // `nz`: products in FRACTAL_NZ wherever CANN multiplies by it and their sizes are whole blocks.
  Uploader(AscendDevice& device, bool nz);
  std::unique_ptr<AscendLinear> linear(const LinearSource& source);
  std::unique_ptr<AscendVector> vector(const Slice& source);
  std::unique_ptr<AscendEmbedding> embedding(const Slice& source);
  // Waits for the copies and gives the pinned buffers back; they are taken again when needed.
  void finish();

 private:
  // Room for `bytes` (at most a buffer's size) that no copy uses any more.
  std::byte* room(size_t bytes);
  // Sends what was written to the room last given.
  void send(void* to, size_t bytes);
  void rows_bf16(const Slice& slice, std::byte* to);
  void rows_int8(const Slice& slice, std::byte* to, float* scales);
  bool takes_nz(const LinearSource& source, int64_t rows, int64_t columns) const;
  void nz_bf16(const LinearSource& source, AscendLinear& made);
  void nz_int8(const LinearSource& source, AscendLinear& made, float* scales);
  // Columns of blocks [0, in_features / c) in order; `fill` writes those of [begin, end) behind one another.
  void send_nz(AscendLinear& made,
               const std::function<void(int64_t begin, int64_t end, std::byte* to)>& fill);
  // Int8 levels [columns of the slice] of one row; its scale.
  float int8_row(const Slice& slice, int64_t row, std::byte* to);

  AscendDevice& device_;
  const bool nz_;
  PinnedMemory buffers_[2];
  int current_ = 0;
  size_t pending_ = 0;         // copies since the last wait
  std::vector<float> values_;  // a stored row, for int8_row
  std::vector<int8_t> levels_;
};

}  // namespace agentinfer
