// The rules a fused attention call must keep on A2, as the tiling of the operator checks them.

#include "ops/attention_plan.h"

namespace emu {
namespace {

constexpr int64_t kMaskSide = 2048, kMaxEntries = 4096;

void check_mask(const AttentionCall& c) {
  const int64_t mode = c.sparse_mode;
  require(mode >= 0 && mode <= 4, kTiling, "sparseMode ", mode, " is not supported");
  if (!c.mask) {
    require(mode == 0, kTiling, "sparseMode ", mode, " needs the compressed mask");
    return;
  }
  expect_dtype(c.mask, "attenMask", {ACL_INT8, ACL_UINT8, ACL_BOOL}, kTiling);
  expect_contiguous(c.mask, "attenMask", kTiling);
  if (mode >= 2) {
    const Dims& d = c.mask->dims;
    const bool fits = d.size() >= 2 && d.size() <= 4 && d[d.size() - 1] == kMaskSide &&
                      d[d.size() - 2] == kMaskSide && element_count(d) == kMaskSide * kMaskSide;
    require(fits, kTiling, "attenMask ", shape_text(d), " must be (2048,2048) in sparseMode ", mode);
  }
}

void check_heads(const AttentionCall& c, const AttentionPlan& p) {
  require(c.heads > 0 && c.heads <= 256, kTiling, "numHeads ", c.heads);
  require(c.kv_heads > 0, kTiling, "numKeyValueHeads ", c.kv_heads, " must be given");
  require(c.heads % c.kv_heads == 0 && c.heads / c.kv_heads <= 64, kTiling, "numHeads ", c.heads,
          " with numKeyValueHeads ", c.kv_heads);
  if (rule_on("head_dim"))
    require(p.head_dim == 64 || p.head_dim == 128, kTiling, "head dim ", p.head_dim,
            ", only 64 or 128 are accepted");
}

// Sets batch, token count, head size and the query's strides from the layout.
void read_query(const AttentionCall& c, AttentionPlan& p) {
  const Dims& q = c.query->dims;
  if (p.layout == "TND") {
    expect_rank(c.query, "query", 3, 3, kTiling);
    p.head_dim = q[2];
    require(q[1] == c.heads, kTiling, "query has ", q[1], " heads, numHeads is ", c.heads);
    p.token_stride = q[1] * q[2];
    p.head_stride = q[2];
  } else if (p.layout == "BSND" || p.layout == "BSH") {
    const bool flat = p.layout == "BSH";
    expect_rank(c.query, "query", flat ? 3 : 4, flat ? 3 : 4, kTiling);
    require(flat ? q[2] % c.heads == 0 : q[2] == c.heads, kTiling, "query ", shape_text(q), " with numHeads ",
            c.heads);
    p.batch = q[0];
    p.padded = q[1];
    p.head_dim = flat ? q[2] / c.heads : q[3];
    p.head_stride = p.head_dim;
    p.token_stride = c.heads * p.head_dim;
    p.batch_stride = p.padded * p.token_stride;
  } else if (p.layout == "BNSD") {
    expect_rank(c.query, "query", 4, 4, kTiling);
    require(q[1] == c.heads, kTiling, "query has ", q[1], " heads, numHeads is ", c.heads);
    p.batch = q[0];
    p.padded = q[2];
    p.head_dim = q[3];
    p.token_stride = q[3];
    p.head_stride = p.padded * q[3];
    p.batch_stride = c.heads * p.head_stride;
  } else {
    refuse(kTiling, "inputLayout \"", p.layout, "\" is not supported here (TND, BSH, BSND, BNSD)");
  }
}

std::vector<int64_t> ends_to_lengths(const std::vector<int64_t>& ends, const char* name) {
  std::vector<int64_t> lengths;
  int64_t before = 0;
  for (const int64_t end : ends) {
    require(end >= before, kTiling, name, " must be cumulative: ", end, " after ", before);
    lengths.push_back(end - before);
    before = end;
  }
  return lengths;
}

void read_lengths_packed(const AttentionCall& c, AttentionPlan& p) {
  require(c.lengths && !c.lengths->values.empty(), kTiling, "actualSeqLengths is mandatory in TND");
  require(c.kv_lengths, kTiling, "actualSeqLengthsKv is mandatory in TND");
  const std::vector<int64_t>& ends = c.lengths->values;
  require(static_cast<int64_t>(ends.size()) <= kMaxEntries, kTiling, ends.size(), " sequences, at most ",
          kMaxEntries);
  p.q_lengths = ends_to_lengths(ends, "actualSeqLengths");
  require(ends.back() == c.query->dims[0], kTiling, "queryT ", c.query->dims[0],
          " must be equal to the last element of actualSeqLengths ", ends.back());
  p.batch = static_cast<int64_t>(ends.size());
  require(static_cast<int64_t>(c.kv_lengths->values.size()) >= p.batch, kTiling, "actualSeqLengthsKv has ",
          c.kv_lengths->values.size(), " entries for ", p.batch, " sequences");
  p.kv_lengths = p.paged ? c.kv_lengths->values : ends_to_lengths(c.kv_lengths->values, "actualSeqLengthsKv");
}

// One value may serve all sequences.
std::vector<int64_t> spread(const aclIntArray* array, int64_t batch, int64_t fallback, const char* name) {
  if (!array) return std::vector<int64_t>(static_cast<size_t>(batch), fallback);
  const std::vector<int64_t>& v = array->values;
  if (v.size() == 1) return std::vector<int64_t>(static_cast<size_t>(batch), v[0]);
  require(static_cast<int64_t>(v.size()) >= batch, kTiling, name, " has ", v.size(), " entries for ", batch,
          " sequences");
  return v;
}

void read_lengths_padded(const AttentionCall& c, AttentionPlan& p, int64_t kv_padded) {
  require(!p.paged || c.kv_lengths, kTiling, "actualSeqLengthsKv is mandatory with a block table");
  p.q_lengths = p.padded == 1 ? std::vector<int64_t>(static_cast<size_t>(p.batch), 1)
                              : spread(c.lengths, p.batch, p.padded, "actualSeqLengths");
  p.kv_lengths = spread(c.kv_lengths, p.batch, kv_padded, "actualSeqLengthsKv");
  for (const int64_t n : p.q_lengths)
    require(n >= 0 && n <= p.padded, kTiling, "query length ", n, " of ", p.padded);
}

void check_paged(const AttentionCall& c, AttentionPlan& p, const aclTensor* key) {
  require(c.block_size > 0, kTiling, "blockSize ", c.block_size, " with a block table");
  expect_dtype(c.block_table, "blockTable", {ACL_INT32}, kTiling);
  expect_rank(c.block_table, "blockTable", 2, 2, kTiling);
  expect_contiguous(c.block_table, "blockTable", kTiling);
  expect_rank(key, "a paged key cache (numBlocks, blockSize, Hk*D)", 3, 3, kTiling);
  require(key->dims[1] == c.block_size, kTiling, "blockSize ", c.block_size, " differs from the cache's ",
          key->dims[1]);
  require(key->dims[2] == c.kv_heads * p.head_dim, kTiling, "the cache's rows have ", key->dims[2],
          " elements, expected ", c.kv_heads, " heads of ", p.head_dim);
  require(key->dims[2] <= 65535, kTiling, "Hk*D ", key->dims[2], " exceeds 65535");
  if (rule_on("block_size")) {
    if (p.layout == "TND")
      require(c.block_size == 128, kTiling, "blockSize must be 128 in TND, is ", c.block_size);
    else
      require(c.block_size % (p.padded > 1 ? 128 : 16) == 0 && c.block_size <= 512, kTiling, "blockSize ",
              c.block_size);
  }
  p.block_size = c.block_size;
  p.blocks = key->dims[0];
  p.table_width = c.block_table->dims[1];
  p.kv_token_stride = key->dims[2];
  p.kv_head_stride = p.head_dim;
}

int64_t check_contiguous_kv(const AttentionCall& c, AttentionPlan& p, const aclTensor* key) {
  const Dims& k = key->dims;
  require(k.size() == c.query->dims.size(), kTiling, "key has rank ", k.size());
  p.kv_head_stride = p.head_dim;
  p.kv_token_stride = c.kv_heads * p.head_dim;
  int64_t padded = 0;
  if (p.layout == "TND") {
    require(k[1] == c.kv_heads && k[2] == p.head_dim, kTiling, "key ", shape_text(k));
  } else if (p.layout == "BNSD") {
    require(k[0] == p.batch && k[1] == c.kv_heads && k[3] == p.head_dim, kTiling, "key ", shape_text(k));
    padded = k[2];
    p.kv_token_stride = p.head_dim;
    p.kv_head_stride = padded * p.head_dim;
    p.kv_batch_stride = c.kv_heads * p.kv_head_stride;
  } else {
    require(k[0] == p.batch && element_count(k) == k[0] * k[1] * p.kv_token_stride, kTiling, "key ",
            shape_text(k));
    padded = k[1];
    p.kv_batch_stride = padded * p.kv_token_stride;
  }
  return padded;
}

void check_sequences(const AttentionCall& c, const AttentionPlan& p) {
  for (int64_t s = 0; s < p.batch; ++s) {
    const int64_t q = p.q_lengths[static_cast<size_t>(s)], kv = p.kv_lengths[static_cast<size_t>(s)];
    require(kv >= 0, kTiling, "KV length ", kv, " of sequence ", s);
    require(c.sparse_mode != 3 || q == 0 || kv >= q, kTiling, "sequence ", s, " has KV length ", kv,
            " below its query length ", q, " in sparseMode 3");
    if (p.paged)
      require((kv + p.block_size - 1) / p.block_size <= p.table_width, kTiling, "blockTable of ",
              p.table_width, " columns is too narrow for KV length ", kv, " of sequence ", s);
  }
  if (p.paged)
    require(c.block_table->dims[0] == p.batch, kTiling, "block table shape should be [", p.batch,
            ", >=", p.table_width, "], is ", shape_text(c.block_table->dims));
}

}  // namespace

AttentionPlan plan_attention(const AttentionCall& c) {
  for (const aclTensor* tensor : c.unused)
    require(!tensor, kTiling, "an optional input that is not supported here is given");
  for (const int64_t mode : c.unused_modes)
    require(mode == 0, kTiling, "an attribute that must be 0 is ", mode);
  require(c.layout, kParamNull, "inputLayout is null");
  require(c.key->tensors.size() == 1 && c.value->tensors.size() == 1, kTiling,
          "key and value must be lists of one tensor");
  const aclTensor *key = c.key->tensors[0], *value = c.value->tensors[0];
  AttentionPlan p;
  p.layout = c.layout;
  p.paged = c.block_table != nullptr;
  p.heads = c.heads;
  p.kv_heads = c.kv_heads;
  p.scale = static_cast<float>(c.scale);
  p.sparse_mode = c.sparse_mode;
  p.pre_tokens = c.pre_tokens;
  p.next_tokens = c.next_tokens;
  p.masked = c.mask != nullptr;
  expect_dtype(c.query, "query", {ACL_BF16, ACL_FLOAT16}, kTiling);
  require(key->dtype == c.query->dtype && value->dtype == c.query->dtype && c.out->dtype == c.query->dtype,
          kTiling, "query, key, value and out differ in dtype");
  expect_contiguous(c.query, "query", kTiling);
  expect_contiguous(key, "key", kTiling);
  expect_contiguous(value, "value", kTiling);
  expect_contiguous(c.out, "attentionOut", kTiling);
  require(value->dims == key->dims, kTiling, "value ", shape_text(value->dims), ", key ",
          shape_text(key->dims));
  read_query(c, p);
  check_heads(c, p);
  check_mask(c);
  if (p.layout == "TND") {
    require(c.sparse_mode == 0 ? !c.mask : c.sparse_mode == 3 || c.sparse_mode == 4, kTiling,
            "TND takes sparseMode 0 without mask, or 3 or 4 with it; got ", c.sparse_mode,
            c.mask ? " with a mask" : "");
    require(c.inner_precise == 0, kTiling, "innerPrecise must be 0 in TND, is ", c.inner_precise);
  }
  int64_t kv_padded = 0;
  if (p.paged)
    check_paged(c, p, key);
  else
    kv_padded = check_contiguous_kv(c, p, key);
  p.layout == "TND" ? read_lengths_packed(c, p) : read_lengths_padded(c, p, kv_padded);
  check_sequences(c, p);
  expect_shape(c.out, "attentionOut", c.query->dims, kTiling);
  require(!c.want_lse || c.lse, kParamNull, "softmaxLse is null with softmaxLseFlag");
  p.want_lse = c.want_lse;
  return p;
}

}  // namespace emu
