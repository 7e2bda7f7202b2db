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

Uploader::Uploader(AscendDevice& device) : device_(device) {}

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
void Uploader::rows_int8(const Slice& slice, std::byte* to, float* scales) {
  const int64_t columns = columns_of(slice), stored = slice.tensor->shape.at(1);
  const auto row_bytes = static_cast<size_t>(columns);
  const int64_t at_once = std::max<int64_t>(1, static_cast<int64_t>(kBuffer / row_bytes));
  std::vector<float> values(static_cast<size_t>(stored));
  std::vector<int8_t> levels(static_cast<size_t>(stored));
  for (int64_t row = slice.row_begin; row < slice.row_end; row += at_once) {
    const int64_t count = std::min(at_once, slice.row_end - row);
    std::byte* out = room(static_cast<size_t>(count) * row_bytes);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t first = (row + i) * stored;
      float& scale = scales[row + i - slice.row_begin];
      if (slice.row_scale != nullptr) {
        std::memcpy(out + static_cast<size_t>(i) * row_bytes,
                    slice.tensor->data.data() + first + slice.col_begin, row_bytes);
        scale = read_element(*slice.row_scale, row + i);
        continue;
      }
      read_floats(*slice.tensor, first, values);
      scale = quantize_row(values, levels);
      if (!std::isfinite(scale))
        fail(ErrorCode::kModelInvalid, slice.tensor->name, ": row ", row + i,
             " holds a value that is not finite");
      std::memcpy(out + static_cast<size_t>(i) * row_bytes, levels.data() + slice.col_begin, row_bytes);
    }
    send(to + static_cast<size_t>(row - slice.row_begin) * row_bytes, static_cast<size_t>(count) * row_bytes);
  }
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
  int64_t row = 0;
  bool any_bias = false;
  for (size_t i = 0; i < source.parts.size(); ++i) {
    std::byte* to = made->weights.at(static_cast<size_t>(row) * row_bytes);
    if (int8)
      rows_int8(source.parts[i], to, scales.data() + row);
    else
      rows_bf16(source.parts[i], to);
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
