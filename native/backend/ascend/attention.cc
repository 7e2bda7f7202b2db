#include "backend/ascend/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "backend/ascend/status.h"
#include "tensor/check.h"
#include "tensor/dtype.h"

namespace agentinfer {
namespace {

constexpr int64_t kMaskSide = 2048;
constexpr int64_t kUnlimited = 2147483647;
constexpr int64_t kVectorBuffer =
    196608;  // bytes of the vector core's buffer that bound heads and head size in the rotary operator

void upload(AscendDevice& device, DeviceMemory& to, const void* from, const char* what) {
  PinnedMemory staging(device, to.bytes(), what);
  std::memcpy(staging.get(), from, to.bytes());
  copy_to_device(device, to.get(), staging.get(), to.bytes());
  device.synchronize();
}

DeviceMemory made_mask(AscendDevice& device) {
  std::vector<int8_t> mask(static_cast<size_t>(kMaskSide * kMaskSide));
  for (int64_t i = 0; i < kMaskSide; ++i)
    std::fill(mask.begin() + i * kMaskSide + i + 1, mask.begin() + (i + 1) * kMaskSide, int8_t{1});
  DeviceMemory memory(device, mask.size(), "attention mask");
  upload(device, memory, mask.data(), "attention mask");
  return memory;
}

// cos or sin of position * frequency, each half of a row alike; computed in double, rounded to bf16 as
// PyTorch models do.
DeviceMemory made_table(AscendDevice& device, const std::vector<float>& frequencies, int64_t positions,
                        double (*function)(double)) {
  const size_t half = frequencies.size(), width = 2 * half;
  std::vector<uint16_t> table(static_cast<size_t>(positions) * width);
  for (size_t p = 0; p < static_cast<size_t>(positions); ++p)
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * static_cast<double>(frequencies[i]);
      table[p * width + i] = table[p * width + half + i] = bf16_from_f32(static_cast<float>(function(angle)));
    }
  DeviceMemory memory(device, table.size() * 2, "rotary table");
  upload(device, memory, table.data(), "rotary table");
  return memory;
}

}  // namespace

AscendAttention::AscendAttention(Launcher& launcher, const StepShape& shape, const AttentionShape& attention,
                                 const RopeTable& rope)
    : launcher_(launcher), shape_(attention), max_rows_(shape.max_rows), positions_(shape.max_context) {
  AscendDevice& device = launcher.device();
  const auto rows = static_cast<size_t>(shape.max_rows);
  const auto dim = static_cast<size_t>(attention.head_dim);
  const size_t q = rows * static_cast<size_t>(attention.heads) * dim * 2,
               kv = rows * static_cast<size_t>(attention.kv_heads) * dim * 2;
  mask_ = made_mask(device);
  cos_table_ = made_table(device, rope.inv_freq, positions_, [](double x) { return std::cos(x); });
  sin_table_ = made_table(device, rope.inv_freq, positions_, [](double x) { return std::sin(x); });
  cos_ = DeviceMemory(device, rows * dim * 2, "rotary rows");
  sin_ = DeviceMemory(device, rows * dim * 2, "rotary rows");
  for (DeviceMemory& memory : q_) memory = DeviceMemory(device, q, "queries");
  for (DeviceMemory& memory : k_) memory = DeviceMemory(device, kv, "keys");
  v_ = DeviceMemory(device, kv, "values");
  rstd_ = DeviceMemory(device, rows * static_cast<size_t>(std::max(attention.heads, 1)) * sizeof(float),
                       "norm scratch");
  probe();
}

size_t AscendAttention::bytes() const {
  size_t sum = 0;
  for (const DeviceMemory* memory :
       {&mask_, &cos_table_, &sin_table_, &cos_, &sin_, &q_[0], &q_[1], &k_[0], &k_[1], &v_, &rstd_})
    sum += memory->bytes();
  return sum;
}

// Plans the attention for one token, which checks heads, head size, types and attributes, and never runs it.
void AscendAttention::probe() {
  const int64_t end = 1, length = 1;
  try {
    DeviceMemory table(launcher_.device(), 64, "trial");
    // The mask stands in for a cache of one block: a plan that is never run reads nothing.
    plan({q_[0].get(), mask_.get(), mask_.get(), table.get(), q_[1].get(), 1, 1, 1, 1}, {&end, 1},
         {&length, 1});
  } catch (const AclError& error) {
    if (error.status() != acl::kTilingRefused && error.status() != acl::kOperatorRefused) throw;
    fail(ErrorCode::kModelUnsupported, "this device's attention does not take ", shape_.heads,
         " query heads and ", shape_.kv_heads, " key heads of ", shape_.head_dim,
         " (128 is safe everywhere): ", error.what());
  }
}

void AscendAttention::begin_step(const StepBuffers& buffers, AscendKvCache& cache, int rows) {
  buffers_ = &buffers;
  cache_ = &cache;
  rows_ = rows;
  call_.reset();
  const int64_t dim = shape_.head_dim;
  for (const auto& [table, out] : {std::pair{&cos_table_, &cos_}, std::pair{&sin_table_, &sin_}})
    launcher_.run(ops().index_select.name, {rows, dim, positions_},
                  {table->get(), buffers.positions(), out->get()}, [&](Call& call) {
                    const acl::T from = call.in({positions_, dim}, acl::kBf16, table->get());
                    const acl::T index = call.in({rows}, acl::kInt32, buffers.positions());
                    const acl::Out to = call.out({rows, dim}, acl::kBf16, out->get());
                    call.plan(ops().index_select, from, 0, index, to);
                  });
}

void AscendAttention::split(const AscendActivation& qkv) {
  const int64_t dim = shape_.head_dim, q = shape_.heads * dim, kv = shape_.kv_heads * dim;
  void* const parts[] = {q_[0].get(), k_[0].get(), v_.get()};
  const int64_t widths[] = {q, kv, kv};
  if (ops().split.present()) {
    launcher_.run(ops().split.name, {rows_, q, kv}, {qkv.values.get()}, [&](Call& call) {
      const acl::T from = call.in({rows_, q + 2 * kv}, acl::kBf16, qkv.values.get());
      const acl::aclIntArray* sizes = call.ints(widths);
      acl::Out members[3];
      for (int i = 0; i < 3; ++i) members[i] = call.list_member({rows_, widths[i]}, acl::kBf16, parts[i]);
      acl::aclTensorList* list = call.out_list(members);
      call.plan(ops().split, from, sizes, 1, list);
    });
    return;
  }
  int64_t offset = 0;
  for (int i = 0; i < 3; ++i) {
    const auto* from = qkv.values.at(static_cast<size_t>(offset) * 2);
    offset += widths[i];
    launcher_.run(ops().inplace_copy.name, {rows_, widths[i], i, q}, {from}, [&](Call& call) {
      const acl::Out to = call.in_out({rows_, widths[i]}, acl::kBf16, parts[i]);
      const acl::T view =
          call.in_view({rows_, widths[i]}, {q + 2 * kv, 1}, {rows_ * (q + 2 * kv)}, acl::kBf16, from);
      call.plan(ops().inplace_copy, to, view);
    });
  }
}

void AscendAttention::norm(const void* from, void* to, int heads, const Vector& weight, float eps) {
  const int64_t dim = shape_.head_dim;
  const void* gamma = static_cast<const AscendVector&>(weight).values.get();
  launcher_.run(ops().rms_norm.name, {rows_, heads, dim, std::bit_cast<int32_t>(eps)},
                {from, gamma, to, rstd_.get()}, [&](Call& call) {
                  const acl::T x = call.in({rows_, heads, dim}, acl::kBf16, from);
                  const acl::T g = call.in({dim}, acl::kBf16, gamma);
                  const acl::T y = call.out({rows_, heads, dim}, acl::kBf16, to);
                  const acl::T rstd = call.out({rows_, heads, 1}, acl::kFloat, rstd_.get());
                  call.plan(ops().rms_norm, x, g, static_cast<double>(eps), y, rstd);
                });
}

bool AscendAttention::rotary_in_place() const {
  const int64_t heads = shape_.heads + shape_.kv_heads, dim = shape_.head_dim;
  return ops().rotary.present() && (dim == 64 || dim == 128) &&
         heads * dim * 20 + dim * 8 + 8 * dim <= kVectorBuffer;
}

// q and k point to the rotated values afterwards.
void AscendAttention::rotate(void*& q, void*& k) {
  const int64_t dim = shape_.head_dim, rows = rows_;
  if (rotary_in_place()) {
    launcher_.run(ops().rotary.name, {rows, reinterpret_cast<intptr_t>(q), reinterpret_cast<intptr_t>(k)},
                  {cos_.get(), sin_.get()}, [&](Call& call) {
                    const acl::Out query = call.in_out({1, rows, shape_.heads, dim}, acl::kBf16, q);
                    const acl::Out key = call.in_out({1, rows, shape_.kv_heads, dim}, acl::kBf16, k);
                    const acl::T cos = call.in({1, rows, 1, dim}, acl::kBf16, cos_.get());
                    const acl::T sin = call.in({1, rows, 1, dim}, acl::kBf16, sin_.get());
                    call.plan(ops().rotary, query, key, cos, sin, 1);
                  });
    return;
  }
  const auto one = [&](void*& x, DeviceMemory(&pair)[2], int64_t heads) {
    void* to = x == pair[0].get() ? pair[1].get() : pair[0].get();
    launcher_.run(ops().rotary_single.name, {rows, heads, dim}, {x, cos_.get(), sin_.get(), to},
                  [&](Call& call) {
                    const acl::T from = call.in({1, rows, heads, dim}, acl::kBf16, x);
                    const acl::T cos = call.in({1, rows, 1, dim}, acl::kBf16, cos_.get());
                    const acl::T sin = call.in({1, rows, 1, dim}, acl::kBf16, sin_.get());
                    const acl::Out out = call.out({1, rows, heads, dim}, acl::kBf16, to);
                    call.plan(ops().rotary_single, from, cos, sin, 0, out);
                  });
    x = to;
  };
  one(q, q_, shape_.heads);
  one(k, k_, shape_.kv_heads);
}

void AscendAttention::store(int layer, const void* k) {
  const int64_t rows = rows_, heads = shape_.kv_heads, dim = shape_.head_dim, blocks = cache_->blocks;
  AscendKvCache::Layer& part = cache_->parts[static_cast<size_t>(layer)];
  if (ops().scatter_kv.present()) {
    // In place, so a call for each layer: their addresses stay as they are.
    launcher_.run(
        ops().scatter_kv.name,
        {rows, blocks, reinterpret_cast<intptr_t>(part.k.get()), reinterpret_cast<intptr_t>(part.v.get())},
        {k, buffers_->slots(), v_.get()}, [&](Call& call) {
          const acl::T key = call.in({rows, heads, dim}, acl::kBf16, k);
          const acl::Out keys = call.in_out({blocks, kAscendBlock, heads, dim}, acl::kBf16, part.k.get());
          const acl::T slots = call.in({rows}, acl::kInt32, buffers_->slots());
          const acl::T value = call.in({rows, heads, dim}, acl::kBf16, v_.get());
          const acl::Out values = call.in_out({blocks, kAscendBlock, heads, dim}, acl::kBf16, part.v.get());
          static char norm_mode[] = "Norm", no_mode[] = "None";
          call.plan(ops().scatter_kv, key, keys, slots, value, values, nullptr, nullptr, nullptr, norm_mode,
                    no_mode, nullptr, nullptr);
        });
    return;
  }
  const std::pair<const void*, const DeviceMemory*> both[] = {{k, &part.k}, {v_.get(), &part.v}};
  for (const auto& [from, to] : both)
    launcher_.run(
        ops().scatter_nd.name, {rows, blocks, reinterpret_cast<intptr_t>(to->get())},
        {buffers_->slots(), from}, [&, from_at = from, to_at = to](Call& call) {
          const acl::Out cache = call.in_out({blocks * kAscendBlock, heads * dim}, acl::kBf16, to_at->get());
          const acl::T slots = call.in({rows, 1}, acl::kInt32, buffers_->slots());
          const acl::T updates = call.in({rows, heads * dim}, acl::kBf16, from_at);
          call.plan(ops().scatter_nd, cache, slots, updates);
        });
}

void AscendAttention::write_kv(int layer, const AscendActivation& qkv, const Vector* q_norm,
                               const Vector* k_norm, float eps) {
  split(qkv);
  void *q = q_[0].get(), *k = k_[0].get();
  if (q_norm != nullptr) {
    norm(q, q_[1].get(), shape_.heads, *q_norm, eps);
    q = q_[1].get();
  }
  if (k_norm != nullptr) {
    norm(k, k_[1].get(), shape_.kv_heads, *k_norm, eps);
    k = k_[1].get();
  }
  rotate(q, k);
  store(layer, k);
  query_ = q;
}

std::unique_ptr<Call> AscendAttention::plan(const View& view, std::span<const int64_t> ends,
                                            std::span<const int64_t> lengths) const {
  auto made = std::make_unique<Call>(launcher_.device());
  Call& call = *made;
  const int64_t dim = shape_.head_dim, width = shape_.kv_heads * dim;
  const acl::T q = call.in({view.rows, shape_.heads, dim}, acl::kBf16, view.q);
  const acl::aclTensorList* k = call.in_list({view.blocks, kAscendBlock, width}, acl::kBf16, view.k);
  const acl::aclTensorList* v = call.in_list({view.blocks, kAscendBlock, width}, acl::kBf16, view.v);
  call.skip();  // pseShift
  const acl::T mask = call.in({kMaskSide, kMaskSide}, acl::kInt8, mask_.get());
  const acl::aclIntArray* queries = call.ints(ends);
  const acl::aclIntArray* kv = call.ints(lengths);
  call.skip(7);  // quantisation of the padded forms
  const acl::T table = call.in({view.sequences, view.width}, acl::kInt32, view.table);
  const acl::T out = call.out({view.rows, shape_.heads, dim}, acl::kBf16, view.out);
  static char layout[] = "TND";
  const auto n = nullptr;
  const double scale = static_cast<double>(shape_.scale);
  const acl::OperatorFunctions& op = ops();
  if (op.attention_v3.present())
    call.plan(op.attention_v3, q, k, v, n, mask, queries, kv, n, n, n, n, n, n, n, table, n, n, n, n, n, n, n,
              n, n, n, n, n, shape_.heads, scale, kUnlimited, kUnlimited, layout, shape_.kv_heads, 3, 0,
              kAscendBlock, 0, false, 0, 0, out, n);
  else
    call.plan(op.attention_v4, q, k, v, n, mask, queries, kv, n, n, n, n, n, n, n, table, n, n, n, n, n, n, n,
              n, n, n, n, n, n, n, shape_.heads, scale, kUnlimited, kUnlimited, layout, shape_.kv_heads, 3, 0,
              kAscendBlock, 0, false, 0, 0, 0, out, n);
  return made;
}

std::unique_ptr<Call> AscendAttention::plan_for(const StepBuffers& buffers, int rows,
                                                std::span<const void* const> addresses) const {
  // Rebindable descriptors of `plan`, in its order: q, k, v, mask, table, out.
  const View view{addresses[0],
                  addresses[1],
                  addresses[2],
                  addresses[4],
                  addresses[5],
                  rows,
                  static_cast<int64_t>(buffers.query_ends().size()),
                  buffers.table_width(),
                  cache_->blocks};
  return plan(view, buffers.query_ends(), buffers.kv_lengths());
}

void AscendAttention::run(int layer, AscendActivation& out) {
  if (launcher_.skipping()) return;
  const AscendKvCache::Layer& part = cache_->parts[static_cast<size_t>(layer)];
  const View view{query_,
                  part.k.get(),
                  part.v.get(),
                  buffers_->block_table(),
                  out.values.get(),
                  rows_,
                  static_cast<int64_t>(buffers_->query_ends().size()),
                  buffers_->table_width(),
                  cache_->blocks};
  if (call_ == nullptr || !call_->repeatable())
    call_ = plan(view, buffers_->query_ends(), buffers_->kv_lengths());
  const void* addresses[] = {view.q, view.k, view.v, mask_.get(), view.table, view.out};
  call_->rebind(addresses);
  launcher_.run(*call_, true);
}

}  // namespace agentinfer
