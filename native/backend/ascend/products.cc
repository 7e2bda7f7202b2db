#include "backend/ascend/products.h"

#include <algorithm>
#include <bit>

#include "tensor/check.h"

namespace agentinfer {
namespace {

int64_t bits(float eps) {
  return std::bit_cast<int32_t>(eps);
}

}  // namespace

void AscendProducts::require_int8() const {
  const acl::OperatorFunctions& op = ops();
  if (op.dynamic_quant.present() && (op.quant_matmul_v5.present() || op.quant_matmul_v4.present())) return;
  fail(ErrorCode::kModelUnsupported,
       "int8 weights need aclnnDynamicQuant and aclnnQuantMatmulV5 or V4, which CANN ",
       launcher_.device().cann().version, " in ", launcher_.device().cann().folder, " lacks");
}

void AscendProducts::expect(const AscendLinear& linear) {
  if (linear.format == WeightFormat::kW8A8) int8_inputs_.insert(linear.in_features);
}

void AscendProducts::reserve_rows(int64_t rows, int64_t cols) {
  AscendDevice& device = launcher_.device();
  const size_t rstd = static_cast<size_t>(rows) * sizeof(float), sum = static_cast<size_t>(rows * cols) * 2;
  if (rstd_.bytes() < rstd) rstd_ = DeviceMemory(device, rstd, "norm scratch");
  if (dummies_.get() == nullptr) dummies_ = DeviceMemory(device, 256, "norm scratch");
  // The residual stream is the first activation made; a wider or narrower one is never a sum's target.
  if (spare_.get() == nullptr) spare_ = DeviceMemory(device, sum, "residual");
}

void AscendProducts::embed(const AscendEmbedding& table, const int32_t* tokens, int rows,
                           AscendActivation& out) {
  if (out.values.get() != out.home && spare_.get() == out.home) std::swap(out.values, spare_);
  launcher_.run(ops().embedding.name, {rows, table.rows, table.cols}, {table.table, tokens, out.values.get()},
                [&](Call& call) {
                  const acl::T weight = call.in({table.rows + 1, table.cols}, acl::kBf16, table.table);
                  const acl::T index = call.in({rows}, acl::kInt32, tokens);
                  const acl::T to = call.out({rows, table.cols}, acl::kBf16, out.values.get());
                  call.plan(ops().embedding, weight, index, to);
                });
  out.written(rows);
}

void AscendProducts::norm_into(const void* x, const AscendVector& weight, float eps, int rows,
                               const void* out) {
  const int64_t cols = weight.size;
  launcher_.run(ops().rms_norm.name, {rows, cols, bits(eps)}, {x, weight.values.get(), out, rstd_.get()},
                [&](Call& call) {
                  const acl::T from = call.in({rows, cols}, acl::kBf16, x);
                  const acl::T gamma = call.in({cols}, acl::kBf16, weight.values.get());
                  const acl::T to = call.out({rows, cols}, acl::kBf16, out);
                  const acl::T rstd = call.out({rows, 1}, acl::kFloat, rstd_.get());
                  call.plan(ops().rms_norm, from, gamma, static_cast<double>(eps), to, rstd);
                });
}

void AscendProducts::rms_norm(const AscendActivation& x, const AscendVector& weight, float eps, int rows,
                              AscendActivation& out) {
  need_plain(x, rows);
  norm_into(x.values.get(), weight, eps, rows, out.values.get());
  out.written(rows);
}

void AscendProducts::add_norm_plain(const void* residual, const void* x, const void* sum,
                                    const AscendVector& weight, float eps, int rows, AscendActivation& out) {
  const int64_t cols = weight.size;
  launcher_.run(ops().add_rms_norm.name, {rows, cols, bits(eps)},
                {x, residual, weight.values.get(), out.values.get(), rstd_.get(), sum}, [&](Call& call) {
                  const acl::T x1 = call.in({rows, cols}, acl::kBf16, x);
                  const acl::T x2 = call.in({rows, cols}, acl::kBf16, residual);
                  const acl::T gamma = call.in({cols}, acl::kBf16, weight.values.get());
                  const acl::Out y = call.out({rows, cols}, acl::kBf16, out.values.get());
                  const acl::Out rstd = call.out({rows, 1}, acl::kFloat, rstd_.get());
                  const acl::Out total = call.out({rows, cols}, acl::kBf16, sum);
                  call.plan(ops().add_rms_norm, x1, x2, gamma, static_cast<double>(eps), y, rstd, total);
                });
}

// The norm writes int8 rows and their scales at once; the 16-bit rows are not written (need_plain makes them
// if somebody asks).
void AscendProducts::add_norm_quantized(const void* residual, const void* x, const void* sum,
                                        const AscendVector& weight, float eps, int rows,
                                        AscendActivation& out) {
  const int64_t cols = weight.size;
  launcher_.run(ops().add_rms_norm_quant.name, {rows, cols, bits(eps)},
                {x, residual, weight.values.get(), out.quantized.get(), sum, out.scales.get()},
                [&](Call& call) {
                  const acl::T x1 = call.in({rows, cols}, acl::kBf16, x);
                  const acl::T x2 = call.in({rows, cols}, acl::kBf16, residual);
                  const acl::T gamma = call.in({cols}, acl::kBf16, weight.values.get());
                  call.skip(2);  // smoothing
                  const acl::Out y = call.out({rows, cols}, acl::kInt8, out.quantized.get());
                  const acl::Out no_y = call.fixed_out({1}, acl::kInt8, dummies_.at(0));
                  const acl::Out total = call.out({rows, cols}, acl::kBf16, sum);
                  const acl::Out scale = call.out({rows}, acl::kFloat, out.scales.get());
                  const acl::Out no_scale = call.fixed_out({1}, acl::kFloat, dummies_.at(128));
                  call.plan(ops().add_rms_norm_quant, x1, x2, gamma, nullptr, nullptr,
                            static_cast<double>(eps), y, no_y, total, scale, no_scale);
                });
}

void AscendProducts::add_rms_norm(AscendActivation& residual, const AscendActivation& x,
                                  const AscendVector& weight, float eps, int rows, AscendActivation& out) {
  need_plain(x, rows);
  const bool quantizes = norm_quantizes(out);
  if ((!quantizes && !ops().add_rms_norm.present()) || spare_.bytes() != residual.values.bytes()) {
    add(residual, x, rows);
    rms_norm(residual, weight, eps, rows, out);
    return;
  }
  if (quantizes)
    add_norm_quantized(residual.values.get(), x.values.get(), spare_.get(), weight, eps, rows, out);
  else
    add_norm_plain(residual.values.get(), x.values.get(), spare_.get(), weight, eps, rows, out);
  std::swap(residual.values, spare_);
  residual.written(rows);
  out.written(rows);
  if (!quantizes) return;
  out.plain = false;
  out.quantized_rows = rows;
  out.source = &residual;
  out.source_version = residual.version;
  out.source_weight = &weight;
  out.source_eps = eps;
}

// A norm that wrote int8 rows alone, asked for its 16-bit rows: made again from the residual, which has not
// changed since.
void AscendProducts::need_plain(const AscendActivation& x, int rows) {
  if (x.plain) return;
  ensure(x.source != nullptr && x.source->version == x.source_version,
         "the 16-bit rows of an activation are gone");
  norm_into(x.source->values.get(), *x.source_weight, x.source_eps, rows, x.values.get());
  x.plain = true;
}

void AscendProducts::add(AscendActivation& residual, const AscendActivation& x, int rows) {
  need_plain(x, rows);
  const int64_t cols = residual.cols;
  launcher_.run(ops().inplace_add.name, {rows, cols, reinterpret_cast<intptr_t>(residual.values.get())},
                {x.values.get()}, [&](Call& call) {
                  const acl::T sum = call.in_out({rows, cols}, acl::kBf16, residual.values.get());
                  const acl::T other = call.in({rows, cols}, acl::kBf16, x.values.get());
                  call.plan(ops().inplace_add, sum, other, call.scalar(1));
                });
  residual.written(rows);
}

void AscendProducts::linear(const AscendActivation& x, const AscendLinear& weight, int rows,
                            AscendActivation& out) {
  if (weight.format == WeightFormat::kBF16)
    product_bf16(x, weight, rows, out);
  else
    product_int8(x, weight, rows, out);
  out.written(rows);
}

void AscendProducts::product_bf16(const AscendActivation& x, const AscendLinear& weight, int rows,
                                  AscendActivation& out) {
  need_plain(x, rows);
  const int64_t k = weight.in_features, n = weight.out_features;
  const auto matrices = [&](Call& call) {
    const acl::T from = call.in({rows, k}, acl::kBf16, x.values.get());
    const void* at = weight.weights.get();
    const acl::T matrix =
        weight.nz ? call.in_view({k, n}, {1, k}, {k / 16, n / 16, 16, 16}, acl::kBf16, at, acl::kFormatNz)
                  : call.in_view({k, n}, {1, k}, {n, k}, acl::kBf16, at);
    return std::pair(from, matrix);
  };
  if (weight.bias.get() == nullptr) {
    const auto& mm = weight.nz ? ops().mm_nz : ops().mm;
    launcher_.run(mm.name, {rows, k, n}, {x.values.get(), weight.weights.get(), out.values.get()},
                  [&](Call& call) {
                    const auto [from, matrix] = matrices(call);
                    const acl::Out to = call.out({rows, n}, acl::kBf16, out.values.get());
                    call.plan(mm, from, matrix, to, int8_t{0});
                  });
    return;
  }
  const auto& addmm = weight.nz ? ops().addmm_nz : ops().addmm;
  launcher_.run(addmm.name, {rows, k, n},
                {weight.bias.get(), x.values.get(), weight.weights.get(), out.values.get()}, [&](Call& call) {
                  const acl::T bias = call.in({n}, acl::kFloat, weight.bias.get());
                  const auto [from, matrix] = matrices(call);
                  const acl::Out to = call.out({rows, n}, acl::kBf16, out.values.get());
                  call.plan(addmm, bias, from, matrix, call.scalar(1), call.scalar(1), to, int8_t{0});
                });
}

DeviceMemory AscendProducts::rows_of_nz(const AscendLinear& linear) {
  AscendDevice& device = launcher_.device();
  const int64_t k = linear.in_features, n = linear.out_features;
  const auto row_bytes = static_cast<size_t>(k) * 2, bytes = static_cast<size_t>(n) * row_bytes;
  DeviceMemory rows(device, bytes + row_bytes, "embedding");
  rows.zero(bytes, row_bytes);
  Call call(device);
  const acl::Out to = call.in_out({n, k / 16, 16}, acl::kBf16, rows.get());
  const acl::T from =
      call.in_view({n, k / 16, 16}, {16, n * 16, 1}, {n * k}, acl::kBf16, linear.weights.get());
  call.plan(ops().inplace_copy, to, from);
  launcher_.run(call, false);
  device.synchronize();  // the call goes away
  return rows;
}

// Once for all products that read the activation.
void AscendProducts::quantize(const AscendActivation& x, int rows) {
  ensure(x.quantized.get() != nullptr, "an int8 product needs an activation made to feed one");
  if (x.quantized_rows >= rows) return;
  const int64_t cols = x.cols;
  launcher_.run(ops().dynamic_quant.name, {rows, cols}, {x.values.get(), x.quantized.get(), x.scales.get()},
                [&](Call& call) {
                  const acl::T from = call.in({rows, cols}, acl::kBf16, x.values.get());
                  call.skip();  // smoothing
                  const acl::T y = call.out({rows, cols}, acl::kInt8, x.quantized.get());
                  const acl::T scale = call.out({rows}, acl::kFloat, x.scales.get());
                  call.plan(ops().dynamic_quant, from, nullptr, y, scale);
                });
  x.quantized_rows = rows;
}

void AscendProducts::product_int8(const AscendActivation& x, const AscendLinear& weight, int rows,
                                  AscendActivation& out) {
  quantize(x, rows);
  const int64_t k = weight.in_features, n = weight.out_features;
  const bool biased = weight.bias.get() != nullptr, v5 = weight.nz || ops().quant_matmul_v5.present();
  const auto& newer = weight.nz ? ops().quant_matmul_nz : ops().quant_matmul_v5;
  const char* name = v5 ? newer.name : ops().quant_matmul_v4.name;
  const auto build = [&](Call& call) {
    const acl::T from = call.in({rows, k}, acl::kInt8, x.quantized.get());
    const void* at = weight.weights.get();
    const acl::T matrix =
        weight.nz ? call.in_view({n, k}, {k, 1}, {k / 32, n / 16, 16, 32}, acl::kInt8, at, acl::kFormatNz)
                  : call.in({n, k}, acl::kInt8, at);
    if (v5) {
      const acl::T row_scale = call.in({rows}, acl::kFloat, x.scales.get());
      const acl::T column_scale = call.in({n}, acl::kFloat, weight.scale.get());
      call.skip(4);
      const acl::T bias = biased ? call.in({n}, acl::kFloat, weight.bias.get()) : nullptr;
      const acl::Out to = call.out({rows, n}, acl::kBf16, out.values.get());
      call.plan(newer, from, matrix, row_scale, column_scale, nullptr, nullptr, nullptr, nullptr, bias, false,
                true, 0, to);
    } else {
      const acl::T column_scale = call.in({n}, acl::kFloat, weight.scale.get());
      call.skip();  // offset
      const acl::T row_scale = call.in({rows}, acl::kFloat, x.scales.get());
      const acl::T bias = biased ? call.in({n}, acl::kFloat, weight.bias.get()) : nullptr;
      const acl::Out to = call.out({rows, n}, acl::kBf16, out.values.get());
      call.plan(ops().quant_matmul_v4, from, matrix, column_scale, nullptr, row_scale, bias, false, true, to);
    }
  };
  const void* scales[] = {v5 ? x.scales.get() : weight.scale.get(), v5 ? weight.scale.get() : x.scales.get()};
  const CallCache::Key key{rows, k, n, biased};
  if (biased)
    launcher_.run(
        name, key,
        {x.quantized.get(), weight.weights.get(), scales[0], scales[1], weight.bias.get(), out.values.get()},
        build);
  else
    launcher_.run(name, key,
                  {x.quantized.get(), weight.weights.get(), scales[0], scales[1], out.values.get()}, build);
}

void AscendProducts::swiglu(const AscendActivation& gate_up, int rows, AscendActivation& out) {
  const int64_t cols = out.cols;
  if (ops().swiglu.present()) {
    launcher_.run(ops().swiglu.name, {rows, cols}, {gate_up.values.get(), out.values.get()}, [&](Call& call) {
      const acl::T from = call.in({rows, 2 * cols}, acl::kBf16, gate_up.values.get());
      const acl::T to = call.out({rows, cols}, acl::kBf16, out.values.get());
      call.plan(ops().swiglu, from, 1, to);
    });
  } else {
    const void* up = gate_up.values.at(static_cast<size_t>(cols) * 2);
    const auto half = [&](Call& call, const void* at) {
      return call.in_view({rows, cols}, {2 * cols, 1}, {rows * 2 * cols}, acl::kBf16, at);
    };
    launcher_.run(ops().silu.name, {rows, cols}, {gate_up.values.get(), out.values.get()}, [&](Call& call) {
      const acl::T gate = half(call, gate_up.values.get());
      const acl::Out to = call.out({rows, cols}, acl::kBf16, out.values.get());
      call.plan(ops().silu, gate, to);
    });
    launcher_.run(ops().mul.name, {rows, cols}, {out.values.get(), up, out.values.get()}, [&](Call& call) {
      const acl::T gated = call.in({rows, cols}, acl::kBf16, out.values.get());
      const acl::T factor = half(call, up);
      const acl::Out to = call.out({rows, cols}, acl::kBf16, out.values.get());
      call.plan(ops().mul, gated, factor, to);
    });
  }
  out.written(rows);
}

void AscendProducts::gather(const AscendActivation& x, int from, const int32_t* index, int count,
                            AscendActivation& out) {
  need_plain(x, from);
  launcher_.run(ops().index_select.name, {count, x.cols, from}, {x.values.get(), index, out.values.get()},
                [&](Call& call) {
                  const acl::T rows = call.in({from, x.cols}, acl::kBf16, x.values.get());
                  const acl::T wanted = call.in({count}, acl::kInt32, index);
                  const acl::Out to = call.out({count, x.cols}, acl::kBf16, out.values.get());
                  call.plan(ops().index_select, rows, 0, wanted, to);
                });
  out.written(count);
}

void AscendProducts::interleave(const void* parts, int ranks, int rows, int64_t cols, AscendActivation& out) {
  const acl::OperatorFunctions& op = ops();
  if (op.permute.present()) {
    launcher_.run(op.permute.name, {ranks, rows, cols}, {parts, out.values.get()}, [&](Call& call) {
      const acl::T from = call.in({ranks, rows, cols}, acl::kBf16, parts);
      const int64_t order[] = {1, 0, 2};
      const acl::aclIntArray* axes = call.ints(order);
      const acl::Out to = call.out({rows, ranks, cols}, acl::kBf16, out.values.get());
      call.plan(op.permute, from, axes, to);
    });
  } else {
    const void* to = out.values.get();
    launcher_.run(op.inplace_copy.name, {ranks, rows, cols, reinterpret_cast<intptr_t>(to)}, {parts},
                  [&](Call& call) {
                    const acl::Out target = call.in_out({rows, ranks, cols}, acl::kBf16, to);
                    const acl::T from = call.in_view({rows, ranks, cols}, {cols, rows * cols, 1},
                                                     {ranks * rows * cols}, acl::kBf16, parts);
                    call.plan(op.inplace_copy, target, from);
                  });
  }
  out.written(rows);
}

}  // namespace agentinfer
