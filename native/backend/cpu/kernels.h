#pragma once
// The inner loops as tables of plain functions, one table for each instruction set. Only pointers and sizes
// cross, so that ISA files share no inline code with the rest. The bodies (body_*.h) are written once over a
// small vector type (vec_*.h).
//
// bf16 weights: panels of 32 output columns, [panel][k][16 dwords]. Dword i holds column i in its low and
// column 16 + i in its high half, so one load gives two f32 vectors by a shift and a mask. int8 weights:
// [panel][k / 4][32 columns][4]. With vectors of 16 the sums of 14 rows by a panel stay in registers, and all
// weights are read once.

#include <cstddef>
#include <cstdint>

namespace agentinfer {

inline constexpr int kPanelColumns = 32;
inline constexpr int64_t kKBlock = 256;       // rows of k that are converted, or kept in cache, at a time
inline constexpr int64_t kConvertPanels = 2;  // that are converted to f32 at a time
inline constexpr int64_t kConvertFloats = kKBlock * kPanelColumns * kConvertPanels;
inline constexpr int kMaxAttentionChunk = 256;  // KV positions between two updates of the running softmax
// Positions whose keys lie together, element by element: vectors of them are read at once, and a new key
// touches the lines of so many positions only.
inline constexpr int kKeyGroup = 16;

// How weights are asked for ahead of their use. Which is best differs by processor (fetch_rule.h); results do
// not.
enum class Fetch : uint8_t {
  kNone,    // not at all: the processor's own prefetchers follow the stream
  kFirst,   // to the first cache, a block ahead, its two pages in turn
  kSecond,  // to the second cache, a block ahead, line after line
};

// y[r][c] = sum over ascending k of x[r][k] * w[k][c] (one chain of fused multiply-adds), + bias[c].
struct MatmulBf16 {
  const float* x;
  int64_t x_stride;
  int rows;
  const uint32_t* w;
  int64_t k;
  int64_t panels;
  const float* bias;  // [panels * kPanelColumns] or null
  float* y;           // [rows][panels * kPanelColumns]
  int64_t y_stride;
  float* scratch;  // kConvertFloats
  Fetch fetch = Fetch::kFirst;
};

// y = (sum x * w, exact in int32) * (x_scale[r] * w_scale[c]) + bias[c], the same bits on every instruction
// set.
struct MatmulInt8 {
  const int8_t* x;  // as Int8Kernels::quantize_row stores it; padded to 4 * k4
  int64_t x_stride;
  const float* x_scale;
  int rows;
  const int8_t* w;
  int64_t k4;  // k / 4, rounded up
  int64_t panels;
  const int32_t* column_sum;  // sum of w over k, [panels * kPanelColumns]
  const float* w_scale;
  const float* bias;  // or null
  float* y;
  int64_t y_stride;
  Fetch fetch = Fetch::kFirst;
};

enum class KvType : uint8_t { kF16, kBF16, kF32 };

// Folds one chunk of at most kMaxAttentionChunk positions into the running softmax of `rows` query rows.
struct AttentionChunk {
  KvType type;
  const float* q;  // [rows][head_dim]
  int64_t q_stride;
  int rows;
  const int32_t* limit;  // positions of the chunk that each row sees, > 0, not decreasing from row to row
  const void* const*
      k_blocks;  // of the chunk's blocks, this kv head: [block_size / kKeyGroup][head_dim][kKeyGroup]
  const void* const* v_blocks;  // [block_size][head_dim]; readable some vectors past the end
  int block_size;               // a multiple of kKeyGroup
  int head_dim;
  float scale;
  float* scores;  // work memory [rows][kMaxAttentionChunk]
  float* max;     // running maximum, sum and output; -inf, 0 and zeros before the first chunk
  float* sum;
  float* out;  // [rows][head_dim padded to 32]
  int64_t out_stride;
};

struct FloatKernels {
  void (*matmul)(const MatmulBf16&);
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  void (*add)(float* residual, const float* x, int64_t n);
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* out);
  // The same for panels of gate and up in turn: gate_up [panels][2][kPanelColumns], out
  // [panels][kPanelColumns].
  void (*swiglu_panels)(const float* gate_up, int64_t panels, float* out);
  void (*rope)(float* x, const float* cos, const float* sin,
               int64_t half);                                // half-rotated pairs (i, i + half)
  void (*to_f16)(const float* x, int64_t n, uint16_t* out);  // saturates to +-65504
  void (*to_bf16)(const float* x, int64_t n, uint16_t* out);
  void (*argmax)(const float* x, int64_t n, float* value,
                 int64_t* index);  // first place; NaN never wins; -1 if all -inf
  void (*attention_chunk)(const AttentionChunk&);
  void (*attention_fold)(float* max_state, float* sum_state, float* out, float part_max, float part_sum,
                         const float* part_out, int64_t dims);
  void (*attention_finish)(float sum, const float* state, int64_t dims, float* out);
  // For the machine's limits: `iterations` rounds of fma_flops operations; reading `bytes` (a multiple of
  // 256).
  float (*fma_loop)(int64_t iterations);
  int64_t fma_flops;
  float (*read_loop)(const void* data, int64_t bytes, Fetch fetch);
};

struct Int8Kernels {
  void (*matmul)(const MatmulInt8&);
  // q[i] = round(x[i] * 127 / max|x|) for i < n, 0 up to `padded`, in the form that `matmul` of the same
  // table reads; *scale = max|x| / 127, NaN where x has NaN or infinity (so that it shows in the product).
  void (*quantize_row)(const float* x, int64_t n, int64_t padded, int8_t* q, float* scale);
  int32_t (*dot_loop)(int64_t iterations);  // rounds of dot_ops operations, for the machine's limit
  int64_t dot_ops;
};

struct Kernels {
  const char* isa = nullptr;
  const FloatKernels* floats = nullptr;
  const Int8Kernels* int8 = nullptr;
};

}  // namespace agentinfer
