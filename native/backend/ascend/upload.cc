#include "backend/ascend/upload.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/check.h"
#include "tensor/elements.h"
#include "tensor/quantize_row.h"

namespace agentinfer {
namespace {

constexpr size_t kBuffer = size_t{8} << 20;
constexpr size_t kNzBytes = 32;  // of a row in a block of FRACTAL_NZ

int64_t rows_of(const Slice& slice) {
  return slice.row_end - slice.row_begin;
}
int64_t columns_of(const Slice& slice) {
  return slice.col_end - slice.col_begin;
}

void check_source(const LinearSource& source) {
  for (const Slice& part : source.parts) {
    const bool inside = part.tensor != nullptr && part.tensor->shape.size() == 2 && part.row_begin >= 0 &&
                        part.row_end <= part.tensor->shape[0] && part.col_begin >= 0 &&
                        part.col_end <= part.tensor->shape[1];
    if (!inside || columns_of(part) != columns_of(source.parts.front()))
      fail(ErrorCode::kInvalidArgument, source.name,
           ": a slice lies outside its tensor or differs in columns");
    const bool stored_int8 = part.tensor->dtype == DType::kI8;
    if (stored_int8 != (part.row_scale != nullptr) || (stored_int8 && source.format != WeightFormat::kW8A8))
      fail(ErrorCode::kInvalidArgument, part.tensor->name, ": int8 weights need a scale and the W8A8 format");
  }
  if (!source.bias.empty() && source.bias.size() != source.parts.size())
    fail(ErrorCode::kInvalidArgument, source.name, ": expected a bias for each part");
}

}  // namespace

Uploader::Uploader(AscendDevice& device, bool nz) : device_(device), nz_(nz) {}

std::byte* Uploader::room(size_t bytes) {
  ensure(bytes <= kBuffer, "a row of ", bytes, " bytes does not fit the upload buffer");
  current_ ^= 1;
  if (pending_ >= 2) {
    device_.synchronize();
    pending_ = 0;
  }
  if (buffers_[current_].get() == nullptr) buffers_[current_] = PinnedMemory(device_, kBuffer, "uploads");
  return buffers_[current_].at(0);
}

void Uploader::send(void* to, size_t bytes) {
  copy_to_device(device_, to, buffers_[current_].get(), bytes);
  ++pending_;
}

void Uploader::finish() {
  device_.synchronize();
  pending_ = 0;
  for (PinnedMemory& buffer : buffers_) buffer.reset();
}

void Uploader::rows_bf16(const Slice& slice, std::byte* to) {
  const int64_t columns = columns_of(slice), stored = slice.tensor->shape.at(1);
  const size_t row_bytes = static_cast<size_t>(columns) * 2;
  const int64_t at_once = std::max<int64_t>(1, static_cast<int64_t>(kBuffer / row_bytes));
  for (int64_t row = slice.row_begin; row < slice.row_end; row += at_once) {
    const int64_t count = std::min(at_once, slice.row_end - row);
    auto* out = reinterpret_cast<uint16_t*>(room(static_cast<size_t>(count) * row_bytes));
    if (columns == stored) {
      read_bf16(*slice.tensor, row * stored, count * columns, out);
    } else {
      for (int64_t i = 0; i < count; ++i)
        read_bf16(*slice.tensor, (row + i) * stored + slice.col_begin, columns, out + i * columns);
    }
    send(to + static_cast<size_t>(row - slice.row_begin) * row_bytes, static_cast<size_t>(count) * row_bytes);
  }
}

// The scale of a row covers all its columns, so that it does not depend on how ranks cut them.
float Uploader::int8_row(const Slice& slice, int64_t row, std::byte* to) {
  const int64_t stored = slice.tensor->shape.at(1);
  const auto columns = static_cast<size_t>(columns_of(slice));
  if (slice.row_scale != nullptr) {
    std::memcpy(to, slice.tensor->data.data() + row * stored + slice.col_begin, columns);
    return read_element(*slice.row_scale, row);
  }
  values_.resize(static_cast<size_t>(stored));
  levels_.resize(static_cast<size_t>(stored));
  read_floats(*slice.tensor, row * stored, values_);
  const float scale = quantize_row(values_, levels_);
  if (!std::isfinite(scale))
    fail(ErrorCode::kModelInvalid, slice.tensor->name, ": row ", row, " holds a value that is not finite");
  std::memcpy(to, levels_.data() + slice.col_begin, columns);
  return scale;
}

void Uploader::rows_int8(const Slice& slice, std::byte* to, float* scales) {
  const auto row_bytes = static_cast<size_t>(columns_of(slice));
  const int64_t at_once = std::max<int64_t>(1, static_cast<int64_t>(kBuffer / row_bytes));
  for (int64_t row = slice.row_begin; row < slice.row_end; row += at_once) {
    const int64_t count = std::min(at_once, slice.row_end - row);
    std::byte* out = room(static_cast<size_t>(count) * row_bytes);
    for (int64_t i = 0; i < count; ++i)
      scales[row + i - slice.row_begin] = int8_row(slice, row + i, out + static_cast<size_t>(i) * row_bytes);
    send(to + static_cast<size_t>(row - slice.row_begin) * row_bytes, static_cast<size_t>(count) * row_bytes);
  }
}

bool Uploader::takes_nz(const LinearSource& source, int64_t rows, int64_t columns) const {
  const acl::OperatorFunctions& op = device_.cann().op;
  const bool int8 = source.format == WeightFormat::kW8A8;
  const bool multiplies = int8 ? op.quant_matmul_nz.present() : op.mm_nz.present() && op.addmm_nz.present();
  return nz_ && multiplies && rows % 16 == 0 && columns % (int8 ? 32 : 16) == 0 &&
         static_cast<size_t>(rows) * kNzBytes <= kBuffer;
}

void Uploader::send_nz(AscendLinear& made, const std::function<void(int64_t, int64_t, std::byte*)>& fill) {
  const int64_t c = made.format == WeightFormat::kW8A8 ? 32 : 16, blocks = made.in_features / c;
  const size_t block_bytes = static_cast<size_t>(made.out_features) * kNzBytes;
  const auto at_once = static_cast<int64_t>(kBuffer / block_bytes);
  for (int64_t block = 0; block < blocks; block += at_once) {
    const int64_t end = std::min(blocks, block + at_once);
    const size_t bytes = static_cast<size_t>(end - block) * block_bytes;
    fill(block, end, room(bytes));
    send(made.weights.at(static_cast<size_t>(block) * block_bytes), bytes);
  }
}

void Uploader::nz_bf16(const LinearSource& source, AscendLinear& made) {
  std::vector<uint16_t> line;
  send_nz(made, [&](int64_t begin, int64_t end, std::byte* to) {
    line.resize(static_cast<size_t>((end - begin) * 16));
    int64_t row = 0;
    for (const Slice& part : source.parts)
      for (int64_t from = part.row_begin; from < part.row_end; ++from, ++row) {
        read_bf16(*part.tensor, from * part.tensor->shape.at(1) + part.col_begin + begin * 16,
                  (end - begin) * 16, line.data());
        for (int64_t block = 0; block < end - begin; ++block)
          std::memcpy(to + static_cast<size_t>(block * made.out_features + row) * kNzBytes,
                      line.data() + block * 16, kNzBytes);
      }
  });
}

// A row's scale needs all of it: the matrix is quantised as a whole first.
void Uploader::nz_int8(const LinearSource& source, AscendLinear& made, float* scales) {
  const int64_t columns = made.in_features;
  std::vector<std::byte> levels(static_cast<size_t>(made.out_features * columns));
  int64_t row = 0;
  for (const Slice& part : source.parts)
    for (int64_t from = part.row_begin; from < part.row_end; ++from, ++row)
      scales[row] = int8_row(part, from, levels.data() + row * columns);
  send_nz(made, [&](int64_t begin, int64_t end, std::byte* to) {
    for (int64_t block = begin; block < end; ++block)
      for (int64_t at = 0; at < made.out_features; ++at, to += kNzBytes)
        std::memcpy(to, levels.data() + at * columns + block * 32, kNzBytes);
  });
}

std::unique_ptr<AscendLinear> Uploader::linear(const LinearSource& source) {
  check_source(source);
  auto made = std::make_unique<AscendLinear>();
  made->format = source.format;
  made->in_features = columns_of(source.parts.front());
  for (const Slice& part : source.parts) made->out_features += rows_of(part);
  const bool int8 = source.format == WeightFormat::kW8A8;
  const size_t row_bytes = static_cast<size_t>(made->in_features) * (int8 ? 1 : 2);
  const size_t weight_bytes = static_cast<size_t>(made->out_features) * row_bytes;
  made->weights = DeviceMemory(device_, weight_bytes + (int8 ? 0 : row_bytes), source.name);
  if (!int8) made->weights.zero(weight_bytes, row_bytes);
  std::vector<float> scales(int8 ? static_cast<size_t>(made->out_features) : 0),
      bias(static_cast<size_t>(made->out_features));
  made->nz = takes_nz(source, made->out_features, made->in_features);
  if (made->nz && int8) nz_int8(source, *made, scales.data());
  if (made->nz && !int8) nz_bf16(source, *made);
  int64_t row = 0;
  bool any_bias = false;
  for (size_t i = 0; i < source.parts.size(); ++i) {
    std::byte* to = made->weights.at(static_cast<size_t>(row) * row_bytes);
    if (!made->nz && int8) rows_int8(source.parts[i], to, scales.data() + row);
    if (!made->nz && !int8) rows_bf16(source.parts[i], to);
    if (!source.bias.empty() && source.bias[i].tensor != nullptr) {
      any_bias = true;
      for (int64_t j = 0; j < rows_of(source.parts[i]); ++j)
        bias[static_cast<size_t>(row + j)] =
            read_element(*source.bias[i].tensor, source.bias[i].row_begin + j);
    }
    row += rows_of(source.parts[i]);
  }
  const auto upload = [&](DeviceMemory& memory, const std::vector<float>& values, const char* what) {
    const size_t bytes = values.size() * sizeof(float);
    memory = DeviceMemory(device_, bytes, source.name + what);
    for (size_t at = 0; at < bytes; at += kBuffer) {
      const size_t part = std::min(kBuffer, bytes - at);
      std::memcpy(room(part), reinterpret_cast<const std::byte*>(values.data()) + at, part);
      send(memory.at(at), part);
    }
  };
  if (int8) upload(made->scale, scales, " (scales)");
  if (any_bias) upload(made->bias, bias, " (bias)");
  made->bytes = made->weights.bytes() + made->scale.bytes() + made->bias.bytes();
  return made;
}

std::unique_ptr<AscendVector> Uploader::vector(const Slice& source) {
  auto made = std::make_unique<AscendVector>();
  made->size = rows_of(source);
  const size_t bytes = static_cast<size_t>(made->size) * 2;
  made->values = DeviceMemory(device_, bytes, source.tensor->name);
  made->bytes = bytes;
  read_bf16(*source.tensor, source.row_begin, made->size, reinterpret_cast<uint16_t*>(room(bytes)));
  send(made->values.get(), bytes);
  return made;
}

std::unique_ptr<AscendEmbedding> Uploader::embedding(const Slice& source) {
  auto made = std::make_unique<AscendEmbedding>();
  made->rows = rows_of(source);
  made->cols = columns_of(source);
  made->first_row = source.row_begin;
  made->vocabulary = source.tensor->shape.at(0);
  const size_t bytes = static_cast<size_t>(made->rows * made->cols) * 2;
  const size_t row_bytes = static_cast<size_t>(made->cols) * 2;
  made->values = DeviceMemory(device_, bytes + row_bytes, source.tensor->name);
  made->values.zero(bytes, row_bytes);
  made->bytes = made->values.bytes();
  rows_bf16(source, made->values.at(0));
  made->table = made->values.get();
  return made;
}

}  // namespace agentinfer
