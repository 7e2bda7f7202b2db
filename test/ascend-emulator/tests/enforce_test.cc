// Phase-1 rules of the operators: each case breaks one rule of a call that is otherwise right.

#include "harness.h"

namespace {

Tensor bf16(const Dims& dims) {
  return Tensor::empty(dims, ACL_BF16, 2);
}
Tensor f32(const Dims& dims) {
  return Tensor::empty(dims, ACL_FLOAT, 4);
}
Tensor i8(const Dims& dims) {
  return Tensor::empty(dims, ACL_INT8, 1);
}

struct Out {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
};

// The attention call of a decode step, each part of which a test may change.
struct Attention {
  int64_t heads = 4, kv_heads = 2, dim = 128, block = 128, blocks = 4;
  Dims q_dims = {3, 4, 128}, ends = {1, 3}, kv = {5, 130}, table_dims = {2, 2}, mask_dims = {2048, 2048},
       cache_dims = {4, 128, 256};
  int64_t mode = 3, inner = 0, block_size = 128;
  bool with_mask = true, with_table = true, with_lengths = true, with_kv = true, two_keys = false,
       strided = false;
  std::string layout = "TND";
  aclDataType mask_type = ACL_INT8, query_type = ACL_BF16;

  int phase1(Out& o) const {
    Buffer q(1 << 16), cache(static_cast<size_t>(blocks * 128 * 512 * 2)), table(4096), mask(2048 * 2048);
    Dims strides;
    if (strided) strides = {q_dims[1] * q_dims[2] * 2, q_dims[2], 1};
    aclTensor* query = make_tensor(q_dims, query_type, q.at, strides, 0, ACL_FORMAT_ND, {1 << 15});
    aclTensor* out = make_tensor(q_dims, ACL_BF16, q.at, {}, 0, ACL_FORMAT_ND, {1 << 15});
    std::vector<aclTensor*> k, v;
    for (int i = 0; i < (two_keys ? 2 : 1); ++i) {
      k.push_back(make_tensor(cache_dims, ACL_BF16, cache.at));
      v.push_back(make_tensor(cache_dims, ACL_BF16, cache.at));
    }
    aclTensorList *keys = ACL(aclCreateTensorList)(k.data(), k.size()),
                  *values = ACL(aclCreateTensorList)(v.data(), v.size());
    aclTensor* m = make_tensor(mask_dims, mask_type, mask.at);
    aclTensor* t = make_tensor(table_dims, ACL_INT32, table.at);
    aclIntArray *e = ints(ends), *n = ints(kv);
    std::vector<char> name(layout.begin(), layout.end());
    name.push_back(0);
    aclTensor* const none = nullptr;
    const int64_t far = 2147483647;
    const int status = ACL(aclnnFusedInferAttentionScoreV3GetWorkspaceSize)(
        query, keys, values, none, with_mask ? m : none, with_lengths ? e : nullptr, with_kv ? n : nullptr,
        none, none, none, none, none, none, none, with_table ? t : none, none, none, none, none, none, none,
        none, none, nullptr, none, none, none, heads, 0.1, far, far, name.data(), kv_heads, mode, inner,
        block_size, 0, false, 0, 0, out, none, &o.size, &o.executor);
    if (status == 0) ACL(aclDestroyAclOpExecutor)(o.executor);
    for (aclTensor* tensor : {query, out, m, t}) ACL(aclDestroyTensor)(tensor);
    for (aclTensorList* list : {keys, values}) ACL(aclDestroyTensorList)(list);
    for (aclIntArray* array : {e, n}) ACL(aclDestroyIntArray)(array);
    return status;
  }
};

template <class Change>
void attention_refuses(const char* rule, Change&& change, int code = ACLNN_ERR_INNER_TILING_ERROR) {
  Attention call;
  change(call);
  Out o;
  const int status = call.phase1(o);
  if (status != code) harness::fail(rule, 0, "returned " + std::to_string(status));
  if (violation(0).find("aclnnFusedInferAttentionScoreV3GetWorkspaceSize(") != 0)
    harness::fail(rule, 0, "no violation: " + violation(0));
  ACL(emu_clear_violations)();
}

}  // namespace

TEST("fused attention: every rule of the recipe") {
  Bound d;
  Out o;
  OK(Attention().phase1(o));
  CHECK(o.size > 0);
  CLEAN();
  attention_refuses("rank", [](Attention& a) { a.q_dims = {3, 512}; });
  attention_refuses("lengths missing", [](Attention& a) { a.with_lengths = false; });
  attention_refuses("kv lengths missing", [](Attention& a) { a.with_kv = false; });
  attention_refuses("not cumulative", [](Attention& a) { a.ends = {2, 1}; });
  attention_refuses("last is not T", [](Attention& a) { a.ends = {1, 2}; });
  attention_refuses("too few kv lengths", [](Attention& a) { a.kv = {5}; });
  attention_refuses("table rows", [](Attention& a) { a.table_dims = {3, 2}; });
  attention_refuses("table too narrow", [](Attention& a) { a.kv = {5, 300}; });
  attention_refuses("block size differs", [](Attention& a) { a.block_size = 64; });
  attention_refuses("block size not 128", [](Attention& a) {
    a.block_size = 64, a.cache_dims = {8, 64, 256};
  });
  attention_refuses("cache row", [](Attention& a) { a.cache_dims = {4, 128, 128}; });
  attention_refuses("cache rank", [](Attention& a) { a.cache_dims = {4, 128, 2, 128}; });
  attention_refuses("mask shape", [](Attention& a) { a.mask_dims = {3, 130}; });
  attention_refuses("mask dtype", [](Attention& a) { a.mask_type = ACL_BF16, a.mask_dims = {1024, 2048}; });
  attention_refuses("mode 3 without mask", [](Attention& a) { a.with_mask = false; });
  attention_refuses("mode 0 with mask", [](Attention& a) { a.mode = 0; });
  attention_refuses("mode 2 in TND", [](Attention& a) { a.mode = 2; });
  attention_refuses("unknown mode", [](Attention& a) { a.mode = 9; });
  attention_refuses("innerPrecise", [](Attention& a) { a.inner = 1; });
  attention_refuses("kv heads", [](Attention& a) { a.kv_heads = 0; });
  attention_refuses("head ratio", [](Attention& a) { a.kv_heads = 3; });
  attention_refuses("head count", [](Attention& a) { a.heads = 8; });
  attention_refuses("head dim", [](Attention& a) { a.q_dims = {3, 4, 32}, a.cache_dims = {4, 128, 64}; });
  attention_refuses("kv shorter than q", [](Attention& a) { a.kv = {5, 1}; });
  attention_refuses("two keys", [](Attention& a) { a.two_keys = true; });
  attention_refuses("strided query", [](Attention& a) { a.strided = true; });
  attention_refuses("dtypes differ", [](Attention& a) { a.query_type = ACL_FLOAT16; });
  attention_refuses("layout", [](Attention& a) { a.layout = "NTD"; });
  OK(Attention().phase1(o));
  CLEAN();
}

TEST("rules that may be relaxed by name") {
  Bound d;
  Attention small;
  small.q_dims = {3, 4, 32};
  small.cache_dims = {4, 128, 64};
  Out o;
  CHECK_EQ(ACL(emu_set_rule)("head_dim", 0), 1);
  OK(small.phase1(o));
  CHECK_EQ(ACL(emu_set_rule)("head_dim", 1), 1);
  CHECK_EQ(ACL(emu_set_rule)("no such rule", 1), 0);
  CLEAN();
}

TEST("the largest workspace covers every length") {
  Bound d;
  Attention call;
  Out small, large;
  call.kv = {1, 2};
  OK(call.phase1(small));
  call.kv = {5, 256};
  OK(call.phase1(large));
  CHECK(small.size < large.size);
  CLEAN();
}

TEST("tensor rules common to all operators") {
  Bound d;
  aclScalar* one = scalar(1);
  Tensor a = bf16({4, 16}), b = bf16({4, 16}), c = bf16({4, 16}), odd = bf16({4, 15});
  Out o;
  REFUSED(aclnnAddGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, nullptr, b, one, c, &o.size, &o.executor);
  REFUSED(aclnnAddGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, a, b, nullptr, c, &o.size, &o.executor);
  REFUSED(aclnnAddGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, odd, one, c, &o.size, &o.executor);
  REFUSED(aclnnAddGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, a, b, one, c, nullptr, &o.executor);
  aclTensor* skewed = make_tensor({4, 15}, ACL_BF16, static_cast<char*>(a.buffer.at) + 2);
  REFUSED(aclnnInplaceZeroGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, skewed, &o.size, &o.executor);
  OK(ACL(aclDestroyTensor)(skewed));
  REFUSED(aclnnInplaceZeroGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, skewed, &o.size,
          &o.executor);  // destroyed
  OK(ACL(aclDestroyScalar)(one));
  CLEAN();
}

TEST("linear layers") {
  Bound d;
  aclScalar* one = scalar(1);
  Tensor x = bf16({4, 32}), w = bf16({32, 16}), y = bf16({4, 16}), wf = f32({32, 16}), bad = bf16({4, 17}),
         yf = f32({4, 16});
  Tensor bias = f32({16}), wrong = f32({15});
  Out o;
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, wf, y, int8_t{0}, &o.size, &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, w, bad, int8_t{0}, &o.size, &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, w, yf, int8_t{0}, &o.size, &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, w, y, int8_t{2}, &o.size, &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, w, y, int8_t{9}, &o.size, &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, w, w, y, int8_t{0}, &o.size, &o.executor);
  REFUSED(aclnnMatmulWeightNzGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, w, y, int8_t{0}, &o.size,
          &o.executor);
  REFUSED(aclnnAddmmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, wrong, x, w, one, one, y, int8_t{0}, &o.size,
          &o.executor);
  REFUSED(aclnnAddmmGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, bias, x, w, nullptr, one, y, int8_t{0},
          &o.size, &o.executor);
  aclTensor* nz = make_tensor({32, 16}, ACL_BF16, w.buffer.at, {}, 0, ACL_FORMAT_FRACTAL_NZ,
                              {2, 2, 16, 16});  // rows and columns swapped
  REFUSED(aclnnMatmulWeightNzGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, nz, y, int8_t{0}, &o.size,
          &o.executor);
  REFUSED(aclnnMmGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, nz, y, int8_t{0}, &o.size, &o.executor);
  OK(ACL(aclDestroyTensor)(nz));
  OK(ACL(aclDestroyScalar)(one));
  CLEAN();
}

TEST("norms and activations") {
  Bound d;
  Tensor x = bf16({4, 32}), g = bf16({32}), g2 = bf16({16}), y = bf16({4, 32}), r = f32({4, 1}),
         r2 = f32({4}), rb = bf16({4, 1}), gf = f32({32});
  Tensor half = bf16({4, 16}), odd = bf16({4, 31});
  Out o;
  REFUSED(aclnnRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, g2, 1e-5, y, r, &o.size, &o.executor);
  REFUSED(aclnnRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, g, 1e-5, y, r2, &o.size, &o.executor);
  REFUSED(aclnnRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, g, 1e-5, y, rb, &o.size, &o.executor);
  REFUSED(aclnnRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, x, g, 1e-5, y, nullptr, &o.size,
          &o.executor);
  REFUSED(aclnnAddRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, half, g, 1e-5, y, r, y, &o.size,
          &o.executor);
  REFUSED(aclnnAddRmsNormGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, x, gf, 1e-5, y, r, y, &o.size,
          &o.executor);
  REFUSED(aclnnSwiGluGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, odd, -1, half, &o.size, &o.executor);
  REFUSED(aclnnSwiGluGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, 5, half, &o.size, &o.executor);
  REFUSED(aclnnSwiGluGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, -1, x, &o.size, &o.executor);
  aclTensor* strided = make_tensor({2, 32}, ACL_BF16, x.buffer.at, {64, 1}, 0, ACL_FORMAT_ND, {128});
  Tensor small = bf16({2, 16});
  REFUSED(aclnnSwiGluGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, strided, -1, small, &o.size, &o.executor);
  OK(ACL(aclDestroyTensor)(strided));
  CLEAN();
}

TEST("rotary embedding") {
  Bound d;
  Tensor q = bf16({1, 4, 4, 128}), k = bf16({1, 4, 2, 128}), c = bf16({1, 4, 1, 128}),
         s = bf16({1, 4, 1, 128}), cf = f32({1, 4, 1, 128});
  Tensor q32 = bf16({1, 4, 4, 32}), k32 = bf16({1, 4, 2, 32}), c32 = bf16({1, 4, 1, 32}),
         wide = bf16({1, 4, 80, 128});
  Out o;
  REFUSED(aclnnApplyRotaryPosEmbGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, q, k, c, s, 2, &o.size,
          &o.executor);
  REFUSED(aclnnApplyRotaryPosEmbGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, q, k, cf, s, 1, &o.size,
          &o.executor);
  REFUSED(aclnnApplyRotaryPosEmbGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, q, k, q, s, 1, &o.size,
          &o.executor);
  REFUSED(aclnnApplyRotaryPosEmbGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, q32, k32, c32, c32, 1, &o.size,
          &o.executor);
  REFUSED(aclnnApplyRotaryPosEmbGetWorkspaceSize, ACLNN_ERR_INNER_TILING_ERROR, wide, k, c, s, 1, &o.size,
          &o.executor);
  OK(RUN(aclnnApplyRotaryPosEmb, d.stream, q, k, c, s, int64_t{1}));
  CLEAN();
}

TEST("cache writers: ranks, dtypes, slots beyond the cache and written twice") {
  Tensor* none = nullptr;
  (void)none;
  Bound d(4);
  {
    Tensor k = bf16({2, 1, 16}), cache = bf16({2, 4, 1, 16}), flat = bf16({8, 16}), wrong = i8({2, 4, 1, 16});
    Tensor beyond({2}, ACL_INT32, std::vector<int32_t>{0, 8}), one({1}, ACL_INT32, std::vector<int32_t>{0});
    Out o;
    char alibi[] = "Alibi";
    REFUSED(aclnnScatterPaKvCacheGetWorkspaceSize, ACLNN_ERR_INNER_TILING_ERROR, k, flat, beyond, k, cache,
            nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &o.size, &o.executor);
    REFUSED(aclnnScatterPaKvCacheGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, k, wrong, beyond, k, cache,
            nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &o.size, &o.executor);
    REFUSED(aclnnScatterPaKvCacheGetWorkspaceSize, ACLNN_ERR_INNER_TILING_ERROR, k, cache, one, k, cache,
            nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &o.size, &o.executor);
    REFUSED(aclnnScatterPaKvCacheGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, k, cache, beyond, k, cache,
            nullptr, nullptr, nullptr, nullptr, alibi, nullptr, nullptr, &o.size, &o.executor);
    CHECK_EQ(RUN(aclnnScatterPaKvCache, d.stream, k, cache, beyond, k, cache, nullptr, nullptr, nullptr,
                 nullptr, nullptr, nullptr, nullptr),
             ACL_ERROR_RT_VECTOR_CORE_EXCEPTION);
    CHECK(violation(0).find("slot 8 of token 1 is beyond") != std::string::npos);
    ACL(emu_clear_violations)();
  }
}

TEST("an index out of range breaks the context") {
  Bound d(5);
  Tensor table = bf16({4, 16}), out = bf16({2, 16}), index({2}, ACL_INT32, std::vector<int32_t>{1, 4});
  CHECK_EQ(RUN(aclnnEmbedding, d.stream, table, index, out), ACL_ERROR_RT_VECTOR_CORE_EXCEPTION);
  CHECK(violation(0).find("index 4 is out of range [0, 4)") != std::string::npos);
  ACL(emu_clear_violations)();
  void* at = nullptr;
  CHECK_EQ(ACL(aclrtMalloc)(&at, 64, ACL_MEM_MALLOC_HUGE_FIRST),
           ACL_ERROR_RT_VECTOR_CORE_EXCEPTION);  // from now on
  CHECK_EQ(ACL(aclrtGetLastError)(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_VECTOR_CORE_EXCEPTION);
  CHECK_EQ(ACL(aclrtGetLastError)(ACL_RT_THREAD_LEVEL), 0);
}

TEST("quantised products and sampling") {
  Bound d;
  Tensor a = i8({4, 64}), w = i8({32, 64}), ws = f32({32}), ts = f32({4}), y = bf16({4, 32}),
         yf = f32({4, 32}), t3 = f32({3});
  aclTensor* const none = nullptr;
  Out o;
  REFUSED(aclnnQuantMatmulV5GetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, a, w, ts, none, none, none, none, none,
          none, false, true, 0, y, &o.size, &o.executor);
  REFUSED(aclnnQuantMatmulV5GetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, w, t3, ws, none, none, none, none,
          none, false, true, 0, y, &o.size, &o.executor);
  REFUSED(aclnnQuantMatmulV5GetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, w, ts, ws, none, none, none, none,
          none, false, false, 0, y, &o.size, &o.executor);
  REFUSED(aclnnQuantMatmulV5GetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, w, ts, ws, none, none, none, none,
          none, true, true, 0, y, &o.size, &o.executor);
  REFUSED(aclnnQuantMatmulV5GetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, w, ts, ws, none, none, none, none,
          none, false, true, 0, yf, &o.size, &o.executor);
  REFUSED(aclnnQuantMatmulWeightNzGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, a, w, ts, ws, none, none, none,
          none, none, false, true, 0, y, &o.size, &o.executor);
  Tensor x = f32({2, 10}), v = f32({2, 3}), i64 = Tensor::empty({2, 3}, ACL_INT64, 8),
         i32 = Tensor::empty({2, 3}, ACL_INT32, 4);
  REFUSED(aclnnTopkGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, 3, -1, true, false, v, i64, &o.size,
          &o.executor);
  REFUSED(aclnnTopkGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, 11, -1, true, true, v, i64, &o.size,
          &o.executor);
  REFUSED(aclnnTopkGetWorkspaceSize, ACLNN_ERR_PARAM_INVALID, x, 3, -1, true, true, v, i32, &o.size,
          &o.executor);
  REFUSED(aclnnApplyTopKTopPGetWorkspaceSize, ACLNN_ERR_PARAM_NULLPTR, x, none, none, x, &o.size,
          &o.executor);
  CLEAN();
}

TEST("empty tensors do nothing") {
  Bound d;
  aclScalar* one = scalar(1);
  Buffer memory(64);
  Tensor a({0, 16}, ACL_BF16, memory.at), b({0, 16}, ACL_BF16, memory.at), c({0, 16}, ACL_BF16, memory.at);
  OK(RUN(aclnnAdd, d.stream, a, b, one, c));
  OK(ACL(aclDestroyScalar)(one));
  CLEAN();
}

HARNESS_MAIN
