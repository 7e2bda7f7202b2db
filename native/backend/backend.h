#pragma once
// What the forward pass asks of a device. The decoder (model/decoder) is written once against this header;
// each backend folder (cpu, ascend) implements exactly these operations, with the same file names and under
// the same tests.
//
// Objects made by a backend (Linear, Vector, Activation, KvCache ...) are opaque, belong to the caller, and
// must be destroyed before the backend. They are only ever handed back to the backend that made them.
//
// Threads: a backend belongs to one thread (ACL binds its context to it), the rank's engine thread. All calls
// below are made on it unless a comment says otherwise. Operations may be asynchronous: they run in call
// order, and their results are visible to the host after `logits`/`argmax` return or after `synchronize`.
//
// Batch invariance (CPU: bit for bit): every output element is computed by one fixed sequence of operations
// that depends on its own token's inputs and position only, never on the other rows, on chunking, on threads
// or on where blocks lie.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace agentinfer {

// ----------------------------------------------------------------------------------------------------
// weights

// A rectangle [row_begin, row_end) x [col_begin, col_end) of a stored matrix, or, for a vector, [row_begin,
// row_end). Rows are output features (PyTorch's Linear layout). Tensor parallel ranks take different
// rectangles of one tensor.
struct Slice {
  const TensorView* tensor = nullptr;  // borrowed for the duration of the call only
  int64_t row_begin = 0, row_end = 0;
  int64_t col_begin = 0, col_end = 0;  // unused for vectors
  const TensorView* row_scale =
      nullptr;  // with an I8 tensor: F32 [rows] or [rows, 1], weight = int8 * row_scale
};

enum class WeightFormat : uint8_t {
  kBF16,  // 16-bit weights; f32/f16 sources are rounded to bf16
  kW8A8,  // int8 weights (symmetric, a scale per output row over the whole row of the source, before any
          // column cut); activations are quantised per token when used (symmetric)
};

// One matrix product: the parts' rows are concatenated in order, e.g. q, k, v. y[i] = sum_k x[k] * W[i][k] +
// bias[i].
struct LinearSource {
  std::vector<Slice> parts;  // same column count in all
  std::vector<Slice> bias;   // empty, or one for each part (an entry with tensor == nullptr adds zero)
  WeightFormat format = WeightFormat::kBF16;
  std::string name;    // for messages
  bool gated = false;  // two parts of as many rows, gate and up: for gated_linear, and for nothing else
};

struct Linear {
  virtual ~Linear() = default;
  int64_t in_features = 0, out_features = 0;
  size_t bytes = 0;  // device bytes held
};

struct Vector {  // norm weights, kept in f32
  virtual ~Vector() = default;
  int64_t size = 0;
  size_t bytes = 0;
};

struct Embedding {  // [rows, hidden]: rows [first_row, first_row + rows) of a vocabulary
  virtual ~Embedding() = default;
  int64_t rows = 0, cols = 0;
  int64_t first_row = 0;   // 0 but on the ranks of a tensor-parallel group above the first
  int64_t vocabulary = 0;  // rows of all ranks together
  size_t bytes = 0;
};

// ------------------------------------------------------------------------------------------------
// activations, KV

// A [max_rows, cols] matrix that lives as long as the decoder. `feeds` tells what consumes it, so that a
// backend can keep a quantised copy beside it, written once by the producing operation (norm, attention,
// swiglu) for all its consumers; or leave out the memory of one that it has no use for.
struct Activation {
  virtual ~Activation() = default;
  int64_t max_rows = 0, cols = 0;
  size_t bytes = 0;
};

struct KvLayout {
  int layers = 0;
  int kv_heads = 0;  // of this rank
  int head_dim = 0;
  int block_size = 0;  // tokens
  DType dtype = DType::kF16;
};

size_t kv_bytes_per_block(const KvLayout& layout);  // K and V, all layers

// `blocks` blocks of device memory and `host_blocks` of host memory (the host tier), zeroed.
struct KvCache {
  virtual ~KvCache() = default;
  KvLayout layout;
  int blocks = 0, host_blocks = 0;
  size_t bytes = 0, host_bytes = 0;
};

// ----------------------------------------------------------------------------------------------------------
// step

// Rows [query_begin, query_end) of the step belong to one sequence; row query_end-1 has position kv_len-1.
// All rows of the sequence attend to positions up to their own. block_table[i] holds positions [i*block_size,
// (i+1)*block_size).
struct StepSequence {
  int query_begin = 0, query_end = 0;
  int kv_len = 0;  // tokens in the cache after this step's rows are written
  std::span<const int32_t> block_table;
};

struct StepInputs {
  std::span<const int32_t> tokens;     // [rows]
  std::span<const int32_t> positions;  // [rows]
  std::span<const int32_t> slots;      // [rows] block * block_size + offset, where this row's K and V go
  std::span<const StepSequence> sequences;
  std::span<const int32_t> logit_rows;  // ascending rows whose logits are wanted; may be empty
};

// Rotary embedding, half-rotated pairing (i with i + head_dim/2). inv_freq already contains any scaling
// (llama3).
struct RopeTable {
  std::vector<float> inv_freq;  // [head_dim / 2]
};

struct AttentionShape {
  int heads = 0, kv_heads = 0, head_dim = 0;  // of this rank
  float scale = 0;                            // usually 1/sqrt(head_dim)
};

struct StepShape {  // the largest step the backend must be ready for; all work memory is taken at
                    // construction
  int max_rows = 0, max_sequences = 0, max_logit_rows = 0, max_context = 0;
};

enum class Feeds : uint8_t {
  kOther,
  kLinear,
  kGate,  // nothing but gated_linear, as its `gate_up`
};

class Backend {
 public:
  virtual ~Backend() = default;

  // --- making objects (any of these may throw kOutOfMemory) ---
  // make_linear, make_vector and make_embedding may be called before `prepare`.
  virtual std::unique_ptr<Linear> make_linear(const LinearSource& source) = 0;
  virtual std::unique_ptr<Vector> make_vector(const Slice& source) = 0;
  // The slice's rows are first_row and rows; its tensor's are the vocabulary.
  virtual std::unique_ptr<Embedding> make_embedding(const Slice& source) = 0;
  // An embedding that reads the rows of a kBF16 head made by make_linear (tied weights, one copy). The head
  // outlives it.
  virtual std::unique_ptr<Embedding> make_tied_embedding(const Linear& head, int64_t first_row,
                                                         int64_t vocabulary) = 0;
  virtual std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols, Feeds feeds) = 0;
  virtual std::unique_ptr<KvCache> make_kv_cache(const KvLayout& layout, int blocks, int host_blocks) = 0;
  // Takes the step's work memory and returns its bytes. Once for each decoder, before its first begin_step:
  // what the decoder before it had goes.
  virtual size_t prepare(const StepShape& shape, const AttentionShape& attention, const RopeTable& rope) = 0;

  // --- the step: begin_step, then operations on its rows, in call order ---
  // The spans in `inputs` stay valid and unchanged until the next begin_step or `synchronize`.
  virtual void begin_step(const StepInputs& inputs, KvCache& cache) = 0;

  // Row-wise operations take `rows`: the step's row count, or fewer behind gather_rows.
  // out[r] = the table's row of tokens[r], all rows of the step; all zeros where that row is on another rank
  // (the decoder sums over ranks). A token outside [0, table.vocabulary) is a kInternal error.
  virtual void embed(const Embedding& table, Activation& out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight
  virtual void rms_norm(const Activation& x, const Vector& weight, float eps, int rows, Activation& out) = 0;
  // residual += x; out = rms_norm(residual)
  virtual void add_rms_norm(Activation& residual, const Activation& x, const Vector& weight, float eps,
                            int rows, Activation& out) = 0;
  // residual += x
  virtual void add(Activation& residual, const Activation& x, int rows) = 0;
  virtual void linear(const Activation& x, const Linear& weight, int rows, Activation& out) = 0;
  // gate_up = [gate | up]; out = silu(gate) * up
  virtual void swiglu(const Activation& gate_up, int rows, Activation& out) = 0;
  // Both in one: linear to `gate_up` (Feeds::kGate), whose contents are nobody's afterwards, and swiglu to
  // `out`. For weights made so (LinearSource::gated).
  virtual void gated_linear(const Activation& x, const Linear& weight, int rows, Activation& gate_up,
                            Activation& out) {
    linear(x, weight, rows, gate_up);
    swiglu(gate_up, rows, out);
  }
  // qkv = [q heads | k heads | v heads] x head_dim, all rows of the step. In place: q and k get an RMSNorm
  // over head_dim where a weight is given (Qwen3), then RoPE at the row's position; k and v are stored at the
  // row's slot of `layer`.
  virtual void write_kv(int layer, Activation& qkv, const Vector* q_norm, const Vector* k_norm,
                        float eps) = 0;
  // All rows of the step: out[r] = softmax(q k^T * scale) v over positions 0..positions[r], grouped-query.
  virtual void attention(int layer, const Activation& qkv, Activation& out) = 0;
  // out[i] = x[logit_rows[first + i]] for i in [0, count)
  virtual void gather_rows(const Activation& x, int first, int count, Activation& out) = 0;

  // --- results; these wait for the work they need ---
  // Row r of `logits` (f32, out_features of the head). Valid until the next call that writes `logits`.
  virtual std::span<const float> logits(const Activation& logits, int row) = 0;
  // A row whose `count` highest logits, and whatever ties with the last of them, are those of `logits`; the
  // others are too, or -infinity. Valid as long as `logits`' row. Where rows are far away this saves copying
  // them.
  virtual std::span<const float> top_logits(const Activation& values, int row, int count) {
    static_cast<void>(count);
    return logits(values, row);
  }
  // argmax of rows [0, rows), first index on ties, NaN never wins. -1 where a row holds no finite value.
  virtual void argmax(const Activation& logits, int rows, std::span<int32_t> out) = 0;
  virtual void synchronize() = 0;

  // --- for ranks that share this process's memory and sum each other's rows (parallel/thread_group) ---
  // The f32 rows of an activation, to read and to write: they count as rewritten. Row stride in *stride
  // elements. nullptr where they are not in host memory: such a device has a Group of its own.
  virtual void* raw(Activation& x, int64_t* stride) {
    static_cast<void>(x);
    *stride = 0;
    return nullptr;
  }

  // --- KV blocks (all layers at once) ---
  virtual void copy_block(KvCache& cache, int32_t from, int32_t to) = 0;
  // Asynchronous copies to and from the host tier; ordered against the steps around them by the backend.
  virtual void block_to_host(KvCache& cache, int32_t block, int32_t host_block) = 0;
  virtual void block_from_host(KvCache& cache, int32_t host_block, int32_t block) = 0;
};

}  // namespace agentinfer
