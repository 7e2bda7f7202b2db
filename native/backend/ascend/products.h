#pragma once
// Matrix products and row-wise operations: one operator each where CANN has it.

#include <set>

#include "backend/ascend/launcher.h"
#include "backend/ascend/objects.h"

namespace agentinfer {

class AscendProducts {
 public:
  explicit AscendProducts(Launcher& launcher) : launcher_(launcher) {}

  // Throws kModelUnsupported where CANN has no int8 products.
  void require_int8() const;
  // A product was made: activations that may feed an int8 one get an int8 copy.
  void expect(const AscendLinear& linear);
  bool quantizes(int64_t cols) const { return int8_inputs_.contains(cols); }
  // Another decoder comes: nothing of the last one's activations is used any more.
  void forget() { spare_ = DeviceMemory(); }
  // Scratch memory for operations on activations of this shape.
  void reserve_rows(int64_t rows, int64_t cols);

  void embed(const AscendEmbedding& table, const int32_t* tokens, int rows, AscendActivation& out);
  void rms_norm(const AscendActivation& x, const AscendVector& weight, float eps, int rows,
                AscendActivation& out);
  void add_rms_norm(AscendActivation& residual, const AscendActivation& x, const AscendVector& weight,
                    float eps, int rows, AscendActivation& out);
  void add(AscendActivation& residual, const AscendActivation& x, int rows);
  void linear(const AscendActivation& x, const AscendLinear& weight, int rows, AscendActivation& out);
  void swiglu(const AscendActivation& gate_up, int rows, AscendActivation& out);
  // out[i] = x[index[i]], x having `from` rows
  void gather(const AscendActivation& x, int from, const int32_t* index, int count, AscendActivation& out);
  // out[r] = [parts[0][r] | parts[1][r] | ...], parts being bf16 [ranks][rows][cols]
  void interleave(const void* parts, int ranks, int rows, int64_t cols, AscendActivation& out);
  // The rows of bf16 weights in FRACTAL_NZ, one after the other, and one of zeros behind them.
  DeviceMemory rows_of_nz(const AscendLinear& linear);
  // Makes sure of the 16-bit rows of an activation.
  void need_plain(const AscendActivation& x, int rows);

 private:
  const acl::OperatorFunctions& ops() const { return launcher_.device().cann().op; }
  bool norm_quantizes(const AscendActivation& out) const {
    return out.quantized.get() != nullptr && ops().add_rms_norm_quant.present();
  }
  void norm_into(const void* x, const AscendVector& weight, float eps, int rows, const void* out);
  void add_norm_plain(const void* residual, const void* x, const void* sum, const AscendVector& weight,
                      float eps, int rows, AscendActivation& out);
  void add_norm_quantized(const void* residual, const void* x, const void* sum, const AscendVector& weight,
                          float eps, int rows, AscendActivation& out);
  void quantize(const AscendActivation& x, int rows);
  void product_bf16(const AscendActivation& x, const AscendLinear& weight, int rows, AscendActivation& out);
  void product_int8(const AscendActivation& x, const AscendLinear& weight, int rows, AscendActivation& out);

  Launcher& launcher_;
  std::set<int64_t> int8_inputs_;
  DeviceMemory rstd_;     // f32 [rows]: the norms' second output, of no use here
  DeviceMemory dummies_;  // outputs that nobody wants, one element each
  // Takes the sum of residual and branch; then the two change places, so that no operator works in place.
  DeviceMemory spare_;
};

}  // namespace agentinfer
