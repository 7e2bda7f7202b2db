#include "backend/ascend/results.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tensor/dtype.h"

namespace agentinfer {
namespace {

// -1 where nothing is finite.
int32_t argmax_of(std::span<const float> row) {
  const auto best = std::max_element(row.begin(), row.end());
  return std::isfinite(*best) ? static_cast<int32_t>(best - row.begin()) : -1;
}

// A row with NaN or +infinity in it becomes NaN throughout: nothing may be chosen from it.
void read_row(const uint16_t* from, std::span<float> row) {
  constexpr uint16_t kSpecial = 0x7f80, kMinusInfinity = 0xff80;
  bool sound = true;
  for (size_t i = 0; i < row.size(); ++i) {
    sound &= (from[i] & kSpecial) != kSpecial || from[i] == kMinusInfinity;
    row[i] = f32_from_bf16(from[i]);
  }
  if (!sound) std::fill(row.begin(), row.end(), std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

void AscendResults::fetch(const AscendActivation& x) {
  if (x.fetched == x.version) return;
  AscendDevice& device = launcher_.device();
  const auto count = static_cast<size_t>(x.written_rows) * static_cast<size_t>(x.cols);
  if (pinned_.bytes() < count * 2) {
    device.synchronize();
    pinned_ = PinnedMemory(device, count * 2, "logits");
  }
  copy_to_host(device, pinned_.get(), x.values.get(), count * 2);
  device.synchronize();
  x.host.resize(count);
  const auto* from = pinned_.as<const uint16_t>();
  // All rows at once: the pinned buffer may serve another activation before the next is asked for.
  for (int row = 0; row < x.written_rows; ++row)
    read_row(from + static_cast<size_t>(row) * static_cast<size_t>(x.cols),
             std::span(x.host).subspan(static_cast<size_t>(row) * static_cast<size_t>(x.cols),
                                       static_cast<size_t>(x.cols)));
  x.fetched = x.version;
}

std::span<const float> AscendResults::row(const AscendActivation& x, int row) {
  ensure(row >= 0 && row < x.written_rows, "row ", row, " of ", x.written_rows, " written");
  fetch(x);
  return std::span<const float>(x.host).subspan(static_cast<size_t>(row) * static_cast<size_t>(x.cols),
                                                static_cast<size_t>(x.cols));
}

void AscendResults::room(int64_t rows) {
  if (rows <= room_) return;
  AscendDevice& device = launcher_.device();
  room_ = 0;  // of all four or none: any may find no memory
  const auto n = static_cast<size_t>(rows);
  index_ = DeviceMemory(device, n * sizeof(int64_t), "argmax");
  highest_ = DeviceMemory(device, n * 2, "argmax");
  index_host_ = PinnedMemory(device, n * sizeof(int64_t), "argmax");
  highest_host_ = PinnedMemory(device, n * 2, "argmax");
  room_ = rows;
}

void AscendResults::argmax(const AscendActivation& x, int rows, std::span<int32_t> out) {
  AscendDevice& device = launcher_.device();
  const acl::OperatorFunctions& op = device.cann().op;
  room(x.max_rows);
  launcher_.run(op.arg_max.name, {rows, x.cols}, {x.values.get(), index_.get()}, [&](Call& call) {
    const acl::T from = call.in({rows, x.cols}, acl::kBf16, x.values.get());
    const acl::Out to = call.out({rows, 1}, acl::kInt64, index_.get());
    call.plan(op.arg_max, from, 1, true, to);
  });
  launcher_.run(op.gather.name, {rows, x.cols}, {x.values.get(), index_.get(), highest_.get()},
                [&](Call& call) {
                  const acl::T from = call.in({rows, x.cols}, acl::kBf16, x.values.get());
                  const acl::T index = call.in({rows, 1}, acl::kInt64, index_.get());
                  const acl::Out to = call.out({rows, 1}, acl::kBf16, highest_.get());
                  call.plan(op.gather, from, 1, index, to);
                });
  const auto n = static_cast<size_t>(rows);
  copy_to_host(device, index_host_.get(), index_.get(), n * sizeof(int64_t));
  copy_to_host(device, highest_host_.get(), highest_.get(), n * 2);
  device.synchronize();
  for (int i = 0; i < rows; ++i) {
    const float highest = f32_from_bf16(highest_host_.as<uint16_t>()[i]);
    const int64_t index = index_host_.as<int64_t>()[i];
    // A highest value that is not finite: look at the row.
    out[static_cast<size_t>(i)] = std::isfinite(highest) && index >= 0 && index < x.cols
                                      ? static_cast<int32_t>(index)
                                      : argmax_of(row(x, i));
  }
}

void AscendResults::fetch_top(const AscendActivation& x) {
  if (top_of_ == &x && top_version_ == x.version) return;
  AscendDevice& device = launcher_.device();
  const acl::OperatorFunctions& op = device.cann().op;
  const int64_t rows = x.written_rows, k = std::min<int64_t>(kTop, x.cols);
  const auto n = static_cast<size_t>(x.max_rows) * static_cast<size_t>(k);
  if (top_index_host_.bytes() < n * sizeof(int64_t)) {  // the last one taken
    top_values_ = DeviceMemory(device, n * 2, "candidates");
    top_index_ = DeviceMemory(device, n * sizeof(int64_t), "candidates");
    top_values_host_ = PinnedMemory(device, n * 2, "candidates");
    top_index_host_ = PinnedMemory(device, n * sizeof(int64_t), "candidates");
  }
  launcher_.run(op.topk.name, {rows, x.cols, k}, {x.values.get(), top_values_.get(), top_index_.get()},
                [&](Call& call) {
                  const acl::T from = call.in({rows, x.cols}, acl::kBf16, x.values.get());
                  const acl::Out values = call.out({rows, k}, acl::kBf16, top_values_.get());
                  const acl::Out index = call.out({rows, k}, acl::kInt64, top_index_.get());
                  call.plan(op.topk, from, k, 1, true, true, values, index);
                });
  const auto used = static_cast<size_t>(rows * k);
  copy_to_host(device, top_values_host_.get(), top_values_.get(), used * 2);
  copy_to_host(device, top_index_host_.get(), top_index_.get(), used * sizeof(int64_t));
  device.synchronize();
  top_of_ = &x;
  top_version_ = x.version;
  top_count_ = static_cast<int>(k);
}

// The candidates as a whole row, -inf elsewhere, if they hold all ties of the count-th; else the whole row.
std::span<const float> AscendResults::top(const AscendActivation& x, int index, int count) {
  if (!launcher_.device().cann().op.topk.present() || count <= 0 || count >= kTop || count >= x.cols)
    return row(x, index);
  ensure(index >= 0 && index < x.written_rows, "row ", index, " of ", x.written_rows, " written");
  fetch_top(x);
  const auto k = static_cast<size_t>(top_count_), at = static_cast<size_t>(index) * k;
  const uint16_t* values = top_values_host_.as<const uint16_t>() + at;
  const int64_t* ids = top_index_host_.as<const int64_t>() + at;
  const float last = f32_from_bf16(values[k - 1]), edge = f32_from_bf16(values[count - 1]);
  if (!std::isfinite(f32_from_bf16(values[0])) || !(last < edge)) return row(x, index);
  if (sparse_.size() != static_cast<size_t>(x.cols)) {
    sparse_.assign(static_cast<size_t>(x.cols), -std::numeric_limits<float>::infinity());
    sparse_set_.clear();
  }
  for (int32_t id : sparse_set_) sparse_[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
  sparse_set_.clear();
  for (size_t i = 0; i < k; ++i) {
    if (ids[i] < 0 || ids[i] >= x.cols) return row(x, index);
    sparse_[static_cast<size_t>(ids[i])] = f32_from_bf16(values[i]);
    sparse_set_.push_back(static_cast<int32_t>(ids[i]));
  }
  return sparse_;
}

}  // namespace agentinfer
