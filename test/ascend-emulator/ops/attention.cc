// Fused attention: softmax statistics in fp32, P rounded to the input type for P*V, one rounding of the
// result. Masked positions inside the KV length are multiplied by zero, not skipped: a NaN there spreads, as
// on the device.

#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "abi/aclnn_attention.h"
#include "ops/attention_plan.h"
#include "ops/numeric.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr int kFault = ACL_ERROR_RT_VECTOR_CORE_EXCEPTION;

struct Sequence {
  int64_t index = 0, q_begin = 0, kv_begin = 0, q = 0, kv = 0;
};

class Attention {
 public:
  Attention(Frame& frame, const AttentionPlan& plan)
      : k_(frame), p_(plan), size_(static_cast<int64_t>(element_size(frame.input(0).dtype()))) {
    if (p_.paged) table_ = read_ints(k_.input(AttentionCall::kBlockTable));
    if (p_.masked) mask_ = k_.input(AttentionCall::kMask).at();
  }

  void run() {
    int64_t q_begin = 0, kv_begin = 0;
    for (int64_t s = 0; s < p_.batch; ++s) {
      const Sequence one{s, q_begin, kv_begin, p_.q_lengths[static_cast<size_t>(s)],
                         p_.kv_lengths[static_cast<size_t>(s)]};
      if (p_.paged) check_blocks(one);
      for (int64_t head = 0; head < p_.kv_heads && one.q > 0; ++head) group(one, head);
      q_begin += one.q;
      kv_begin += one.kv;
      k_.flops += static_cast<uint64_t>(4 * one.q * one.kv * p_.heads * p_.head_dim);
    }
  }

 private:
  void check_blocks(const Sequence& s) const {
    for (int64_t i = 0; i * p_.block_size < s.kv; ++i) {
      const int64_t block = table_[static_cast<size_t>(s.index * p_.table_width + i)];
      require(block >= 0 && block < p_.blocks, kFault, "block ", block, " of sequence ", s.index,
              " is out of range [0, ", p_.blocks, ")");
    }
  }

  int64_t kv_offset(const Sequence& s, int64_t position, int64_t head) const {
    if (p_.paged) {
      const int64_t block = table_[static_cast<size_t>(s.index * p_.table_width + position / p_.block_size)];
      return (block * p_.block_size + position % p_.block_size) * p_.kv_token_stride +
             head * p_.kv_head_stride;
    }
    const int64_t base = p_.layout == "TND" ? s.kv_begin * p_.kv_token_stride : s.index * p_.kv_batch_stride;
    return base + position * p_.kv_token_stride + head * p_.kv_head_stride;
  }

  int64_t q_offset(const Sequence& s, int64_t row, int64_t head) const {
    const int64_t base = p_.layout == "TND" ? s.q_begin * p_.token_stride : s.index * p_.batch_stride;
    return base + row * p_.token_stride + head * p_.head_stride;
  }

  void load(const Operand& operand, int64_t offset, float* out) const {
    const char* at = operand.at() + offset * size_;
    for (int64_t i = 0; i < p_.head_dim; ++i) out[i] = load_float(at + i * size_, operand.dtype());
  }

  bool masked(const Sequence& s, int64_t row, int64_t position) const {
    if (p_.sparse_mode == 0 || p_.sparse_mode == 1) {
      if (!p_.masked) return false;
      const Dims& d = k_.input(AttentionCall::kMask).dims();
      const int64_t rows = d[d.size() - 2], width = d.back();
      const int64_t plane = d.size() > 2 && d[0] == p_.batch ? s.index * rows * width : 0;
      return mask_[plane + row * width + position] != 0;
    }
    const int64_t shift = p_.sparse_mode == 2 ? 0 : s.kv - s.q;
    if (p_.sparse_mode <= 3) return position > row + shift;
    return position < row + shift - p_.pre_tokens || position > row + shift + p_.next_tokens;
  }

  // All query heads that share one KV head.
  void group(const Sequence& s, int64_t kv_head) {
    const int64_t d = p_.head_dim;
    Floats keys(static_cast<size_t>(s.kv * d)), values(keys.size());
    for (int64_t j = 0; j < s.kv; ++j) {
      load(k_.in[AttentionCall::kKey][0], kv_offset(s, j, kv_head), keys.data() + j * d);
      load(k_.in[AttentionCall::kValue][0], kv_offset(s, j, kv_head), values.data() + j * d);
    }
    const int64_t shared = p_.heads / p_.kv_heads;
    for (int64_t head = kv_head * shared; head < (kv_head + 1) * shared; ++head)
      for (int64_t row = 0; row < s.q; ++row) one_row(s, head, row, keys, values);
  }

  void one_row(const Sequence& s, int64_t head, int64_t row, const Floats& keys, const Floats& values) {
    const int64_t d = p_.head_dim;
    const float kNone = -std::numeric_limits<float>::infinity();
    Floats q(static_cast<size_t>(d)), scores(static_cast<size_t>(s.kv)), out(static_cast<size_t>(d), 0);
    load(k_.input(0), q_offset(s, row, head), q.data());
    float high = kNone;
    for (int64_t j = 0; j < s.kv; ++j) {
      float dot = 0;
      for (int64_t i = 0; i < d; ++i) dot += q[static_cast<size_t>(i)] * keys[static_cast<size_t>(j * d + i)];
      const float score = masked(s, row, j) ? kNone : dot * p_.scale;
      scores[static_cast<size_t>(j)] = score;
      high = score != score || high != high ? NAN : std::max(high, score);
    }
    float sum = 0;
    for (int64_t j = 0; j < s.kv; ++j) {
      const float weight =
          scores[static_cast<size_t>(j)] == kNone ? 0 : std::exp(scores[static_cast<size_t>(j)] - high);
      sum += weight;
      const float p = round_like_input(weight);
      for (int64_t i = 0; i < d; ++i)
        out[static_cast<size_t>(i)] += p * values[static_cast<size_t>(j * d + i)];
    }
    const bool none = sum == 0;
    char* at = k_.output(0).at() + q_offset(s, row, head) * size_;
    for (int64_t i = 0; i < d; ++i)
      store_float(at + i * size_, k_.output(0).dtype(), none ? 0 : out[static_cast<size_t>(i)] / sum);
    if (p_.want_lse)
      store_lse(s, head, row, none ? std::numeric_limits<float>::infinity() : std::log(sum) + high);
  }

  void store_lse(const Sequence& s, int64_t head, int64_t row, float value) {
    Operand& lse = k_.output(1);
    const int64_t at = p_.layout == "TND" ? (s.q_begin + row) * p_.heads + head
                                          : (s.index * p_.heads + head) * p_.padded + row;
    store_float(lse.at() + at * 4, lse.dtype(), value);
  }

  float round_like_input(float v) const {
    return k_.input(0).dtype() == ACL_BF16 ? round_bf16(v) : half_to_float(float_to_half(v));
  }

  Frame& k_;
  const AttentionPlan& p_;
  const int64_t size_;
  Ints table_;
  const char* mask_ = nullptr;
};

}  // namespace

void unused_input(Builder& b, AttentionCall& call, const aclTensor* tensor, const char* name) {
  b.in(tensor, name, Need::kOptional);
  call.unused.push_back(tensor);
}

void build_attention(Builder& b, const AttentionCall& call, bool worst_case) {
  AttentionPlan plan = plan_attention(call);
  // A fixed part and a part per core and sequence length, so that the size changes from step to step.
  int64_t longest = 0;
  for (const int64_t n : plan.kv_lengths) longest = std::max(longest, n);
  if (worst_case)
    longest = plan.paged ? plan.table_width * plan.block_size : std::max(longest, int64_t{4096});
  b.workspace(static_cast<uint64_t>(65536 + 32 * longest + 64 * plan.heads * plan.batch));
  b.kernel([plan](Frame& k) { Attention(k, plan).run(); });
}

}  // namespace emu
