// Rotation, attention over pages and what writes them, against PyTorch's results.

#include "fixture.h"

TEST("the three rotary operators agree with PyTorch") {
  Bound d;
  const Fixture& f = fixture("rotary");
  const int64_t t = f.at("q").dims[0], hq = f.at("q").dims[1], hk = f.at("k").dims[1],
                dim = f.at("q").dims[2];
  {
    Buffer q(f.at("q").bytes), k(f.at("k").bytes), c(f.at("cos").bytes), s(f.at("sin").bytes);
    Tensor tq({1, t, hq, dim}, ACL_BF16, q.at), tk({1, t, hk, dim}, ACL_BF16, k.at);
    Tensor tc({1, t, 1, dim}, ACL_BF16, c.at), ts({1, t, 1, dim}, ACL_BF16, s.at);
    OK(RUN(aclnnApplyRotaryPosEmb, d.stream, tq, tk, tc, ts, int64_t{1}));
    Tensor rq(f.at("q").dims, ACL_BF16, std::move(q)), rk(f.at("k").dims, ACL_BF16, std::move(k));
    CLOSE(rq, f.at("yq"), kUnit, 2e-2);
    CLOSE(rk, f.at("yk"), kUnit, 2e-2);
  }
  Tensor q = f.at("q").upload(), y = like(f.at("q"), ACL_BF16);
  Buffer c(f.at("cos").bytes), s(f.at("sin").bytes);
  Tensor tc({t, 1, dim}, ACL_BF16, c.at), ts({t, 1, dim}, ACL_BF16, s.at);
  OK(RUN(aclnnRotaryPositionEmbedding, d.stream, q, tc, ts, int64_t{0}, y));
  CLOSE(y, f.at("yq"), kHalfUnit, 1e-5);
  Tensor pos = f.at("positions").upload(), cache = f.at("cache").upload();
  Buffer qb(f.at("q").bytes), kb(f.at("k").bytes);
  Tensor q2({t, hq * dim}, ACL_BF16, qb.at), k2({t, hk * dim}, ACL_BF16, kb.at);
  Tensor oq = Tensor::empty({t, hq * dim}, ACL_BF16, 2), ok = Tensor::empty({t, hk * dim}, ACL_BF16, 2);
  OK(RUN(aclnnRopeWithSinCosCache, d.stream, pos, q2, k2, cache, nullptr, dim, true, oq, ok));
  CLOSE(oq, f.at("yq"), kHalfUnit, 1e-5);
  CLOSE(ok, f.at("yk"), kHalfUnit, 1e-5);
  CLEAN();
}

namespace {

// Writes the fixture's tokens into a poisoned paged cache with the cache operator, then runs the attention
// call.
void check_attention(const char* name, bool causal, int version) {
  Bound d;
  const Fixture& f = fixture(name);
  const Dims q = f.at("q").dims, kd = f.at("k").dims;
  const int64_t blocks = f.at("blocks").as<int64_t>()[0], tokens = kd[0], hk = kd[1], dim = kd[2];
  const Dims kv = f.at("kv_lens").as<int64_t>(), q_lens = f.at("q_lens").as<int64_t>();
  const auto table = f.at("table").as<int32_t>();
  const int64_t width = f.at("table").dims[1];
  std::vector<int32_t> slots;
  for (size_t s = 0; s < kv.size(); ++s)
    for (int64_t i = 0; i < kv[s]; ++i)
      slots.push_back(table[s * static_cast<size_t>(width) + static_cast<size_t>(i / 128)] * 128 +
                      static_cast<int32_t>(i % 128));
  Tensor k = f.at("k").upload(), v = f.at("v").upload(), slot({tokens}, ACL_INT32, slots);
  Buffer kc(static_cast<size_t>(blocks * 128 * hk * dim * 2)),
      vc(static_cast<size_t>(blocks * 128 * hk * dim * 2));
  Tensor k4({blocks, 128, hk, dim}, ACL_BF16, kc.at), v4({blocks, 128, hk, dim}, ACL_BF16, vc.at);
  OK(RUN(aclnnScatterPaKvCache, d.stream, k, k4, slot, v, v4, nullptr, nullptr, nullptr, nullptr, nullptr,
         nullptr, nullptr));
  aclTensor *k3 = make_tensor({blocks, 128, hk * dim}, ACL_BF16, kc.at),
            *v3 = make_tensor({blocks, 128, hk * dim}, ACL_BF16, vc.at);
  aclTensorList *keys = ACL(aclCreateTensorList)(&k3, 1), *values = ACL(aclCreateTensorList)(&v3, 1);
  std::vector<int8_t> upper(2048 * 2048);
  for (size_t i = 0; i < 2048; ++i)
    for (size_t j = i + 1; j < 2048; ++j) upper[i * 2048 + j] = 1;
  Tensor mask({2048, 2048}, ACL_INT8, upper), block_table = f.at("table").upload(),
                                              query = f.at("q").upload();
  Tensor out = like(f.at("q"), ACL_BF16);
  Dims ends;
  for (const int64_t n : q_lens) ends.push_back((ends.empty() ? 0 : ends.back()) + n);
  aclIntArray *lengths = ints(ends), *kv_lengths = ints(kv);
  char layout[] = "TND";
  aclTensor* m = causal ? mask.t : nullptr;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const int64_t far = 2147483647, mode = causal ? 3 : 0, none = 0;
  aclTensor* const n = nullptr;
  aclIntArray* const na = nullptr;
  if (version == 3)
    OK(RUN(aclnnFusedInferAttentionScoreV3, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, n, n, n, q[1], scale, far, far, layout, hk,
           mode, none, int64_t{128}, none, false, none, none, out, n));
  if (version == 2)
    OK(RUN(aclnnFusedInferAttentionScoreV2, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, q[1], scale, far, far, layout, hk, mode, none,
           int64_t{128}, none, false, none, none, out, n));
  if (version == 4)
    OK(RUN(aclnnFusedInferAttentionScoreV4, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, n, n, n, n, n, q[1], scale, far, far, layout,
           hk, mode, none, int64_t{128}, none, false, none, none, none, out, n));
  CLOSE(out, f.at("y"), kUnit, 8e-3);
  for (aclIntArray* array : {lengths, kv_lengths}) OK(ACL(aclDestroyIntArray)(array));
  for (aclTensorList* list : {keys, values}) OK(ACL(aclDestroyTensorList)(list));
  CLEAN();
}

}  // namespace

TEST("attention: decode") {
  check_attention("attention_decode", true, 3);
}

TEST("attention: prefill chunks, decode and verification mixed") {
  check_attention("attention_mixed", true, 3);
}

TEST("attention: head dim 128, first chunk") {
  check_attention("attention_128", true, 3);
}

TEST("attention: no mask") {
  check_attention("attention_unmasked", false, 3);
}

TEST("attention: versions 2 and 4") {
  check_attention("attention_mixed", true, 2);
  check_attention("attention_mixed", true, 4);
}

TEST("cache writers: slots below zero are skipped, fallbacks write the same rows, pages are gathered back") {
  Bound d;
  const std::vector<uint16_t> rows = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                      21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36};
  Tensor k({2, 1, 16}, ACL_BF16, rows), v({2, 1, 16}, ACL_BF16, rows);
  const std::vector<uint16_t> zeros(3 * 2 * 16);
  Tensor kc({3, 2, 1, 16}, ACL_BF16, zeros), vc({3, 2, 1, 16}, ACL_BF16, zeros),
      slots({2}, ACL_INT32, std::vector<int32_t>{-1, 3});
  OK(RUN(aclnnScatterPaKvCache, d.stream, k, kc, slots, v, vc, nullptr, nullptr, nullptr, nullptr, nullptr,
         nullptr, nullptr));
  const auto cache = kc.buffer.read<uint16_t>();
  CHECK_EQ(cache[0], 0);
  CHECK_EQ(cache[3 * 16], 21);
  Tensor flat({6, 16}, ACL_BF16, zeros), index({1, 1}, ACL_INT64, std::vector<int64_t>{3}),
      index1({1}, ACL_INT64, std::vector<int64_t>{3});
  aclTensor* second = make_tensor({1, 16}, ACL_BF16, k.buffer.at, {16, 1}, 16, ACL_FORMAT_ND, {2, 16});
  OK(RUN(aclnnScatterNdUpdate, d.stream, flat, index, second));
  CHECK(flat.buffer.read<uint16_t>() == cache);
  Tensor flat2({6, 16}, ACL_BF16, zeros);
  OK(RUN(aclnnInplaceIndexCopy, d.stream, flat2, int64_t{0}, index1, second));
  CHECK(flat2.buffer.read<uint16_t>() == cache);
  Tensor table({1, 2}, ACL_INT32, std::vector<int32_t>{1, 0}),
      length({1}, ACL_INT32, std::vector<int32_t>{2});
  Tensor gk = Tensor::empty({2, 1, 16}, ACL_BF16, 2), gv = Tensor::empty({2, 1, 16}, ACL_BF16, 2);
  OK(RUN(aclnnGatherPaKvCache, d.stream, kc, vc, table, length, gk, gv, nullptr, nullptr, false));
  CHECK_EQ(gk.buffer.read<uint16_t>()[16], 21);
  OK(ACL(aclDestroyTensor)(second));
  CLEAN();
}
