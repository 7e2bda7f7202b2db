// Rotary embedding, half-rotated: o1 = x1 cos - x2 sin, o2 = x2 cos + x1 sin, with cos and sin of full width.

#include <string>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr Dtypes kFloatTypes = {ACL_FLOAT, ACL_FLOAT16, ACL_BF16};
constexpr int64_t kUnifiedBuffer = 196608;

// One head. The general form with full-width tables: out = x*cos + rotated(x)*sin.
void rotate(const float* x, const float* cos, const float* sin, int64_t d, bool interleaved, float* out) {
  for (int64_t i = 0; i < d; ++i) {
    float partner;
    if (interleaved)
      partner = i % 2 == 0 ? -x[i + 1] : x[i - 1];
    else
      partner = i < d / 2 ? -x[i + d / 2] : x[i - d / 2];
    out[i] = x[i] * cos[i] + partner * sin[i];
  }
}

// heads of `tokens` rows, in place; cos and sin have one row per token.
void rotate_tokens(Operand& x, const Operand& from, const Floats& cos, const Floats& sin, int64_t tokens,
                   int64_t heads, int64_t d, Rounding rounding) {
  const Floats v = read_floats(from);
  Floats out(v.size());
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < heads; ++h)
      rotate(v.data() + (t * heads + h) * d, cos.data() + t * d, sin.data() + t * d, d, false,
             out.data() + (t * heads + h) * d);
  write_floats(x, out, rounding);
}

// The budget of the vector core's buffer that bounds heads and head size.
void check_buffer(int64_t heads, int64_t d, aclDataType dtype) {
  const int64_t size = static_cast<int64_t>(element_size(dtype));
  const int64_t cast = dtype == ACL_FLOAT ? 0 : 1, cast_size = 4;
  const int64_t need = heads * d * cast_size * 5 + d * size * 4 + cast * 8 * d;
  require(need <= kUnifiedBuffer, kTiling, "heads need ", need, " bytes of the vector core's ",
          kUnifiedBuffer);
}

void build_apply(Builder& b, const aclTensor* q, const aclTensor* k, const aclTensor* cos,
                 const aclTensor* sin, int64_t layout) {
  b.inout(q, "queryRef");
  b.inout(k, "keyRef");
  b.in(cos, "cos");
  b.in(sin, "sin");
  require(layout == 1 || layout == 4, kParamBad, "layout ", layout, ", expected 1 (BSND) or 4 (TND)");
  const size_t rank = layout == 1 ? 4 : 3;
  for (const aclTensor* t : {q, k, cos, sin}) {
    expect_dtype(t, "an operand", kFloatTypes);
    expect_same_dtype(q, t, "the operands");
    expect_rank(t, "an operand", rank, rank);
    expect_contiguous(t, "an operand");
  }
  const int64_t d = q->dims.back(), heads = q->dims[rank - 2], kv_heads = k->dims[rank - 2];
  if (rule_on("head_dim")) require(d == 64 || d == 128, kParamBad, "head dim ", d, ", only 64 or 128");
  Dims table = q->dims, keys = q->dims;
  table[rank - 2] = 1;
  keys[rank - 2] = kv_heads;
  expect_shape(k, "keyRef", keys);
  expect_shape(cos, "cos", table);
  expect_shape(sin, "sin", table);
  check_buffer(heads + kv_heads, d, q->dtype);
  const int64_t tokens = d > 0 && heads > 0 ? element_count(q->dims) / (d * heads) : 0;
  b.workspace(32);
  b.kernel([=](Frame& f) {
    const Floats c = read_floats(f.input(2)), s = read_floats(f.input(3));
    rotate_tokens(f.output(0), f.input(0), c, s, tokens, heads, d, Rounding::kAwayFromZero);
    rotate_tokens(f.output(1), f.input(1), c, s, tokens, kv_heads, d, Rounding::kAwayFromZero);
  });
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnApplyRotaryPosEmbGetWorkspaceSize(aclTensor* queryRef, aclTensor* keyRef,
                                                   const aclTensor* cos, const aclTensor* sin, int64_t layout,
                                                   uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      "aclnnApplyRotaryPosEmbGetWorkspaceSize", "aclnnApplyRotaryPosEmb", workspaceSize, executor,
      args(static_cast<const aclTensor*>(queryRef), static_cast<const aclTensor*>(keyRef), cos, sin, layout),
      [&](Builder& b) { build_apply(b, queryRef, keyRef, cos, sin, layout); });
}
EMU_PHASE2(aclnnApplyRotaryPosEmb)

aclnnStatus aclnnApplyRotaryPosEmbV2GetWorkspaceSize(aclTensor* queryRef, aclTensor* keyRef,
                                                     const aclTensor* cos, const aclTensor* sin,
                                                     int64_t layout, char* rotaryMode,
                                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      "aclnnApplyRotaryPosEmbV2GetWorkspaceSize", "aclnnApplyRotaryPosEmbV2", workspaceSize, executor,
      args(static_cast<const aclTensor*>(queryRef), static_cast<const aclTensor*>(keyRef), cos, sin, layout,
           rotaryMode),
      [&](Builder& b) {
        require(rotaryMode && std::string(rotaryMode) == "half", kParamBad, "rotaryMode must be \"half\"");
        build_apply(b, queryRef, keyRef, cos, sin, layout);
      });
}
EMU_PHASE2(aclnnApplyRotaryPosEmbV2)

// x of four (BSND, BNSD, SBND) or three (TND) dims; the tables broadcast over dims of size 1.
aclnnStatus aclnnRotaryPositionEmbeddingGetWorkspaceSize(const aclTensor* x, const aclTensor* cos,
                                                         const aclTensor* sin, int64_t mode, aclTensor* out,
                                                         uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnRotaryPositionEmbeddingGetWorkspaceSize", "aclnnRotaryPositionEmbedding", workspaceSize,
                executor, args(x, cos, sin, mode, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(x, "x");
                  b.in(cos, "cos");
                  b.in(sin, "sin");
                  b.out(out, "out");
                  require(mode == 0 || mode == 1, kParamBad, "mode ", mode,
                          ", 0 (half) or 1 (interleaved) on this product");
                  expect_dtype(x, "x", kFloatTypes);
                  for (const aclTensor* t : {cos, sin, static_cast<const aclTensor*>(out)})
                    expect_same_dtype(x, t, "the operands");
                  expect_rank(x, "x", 3, 4);
                  expect_contiguous(x, "x");
                  expect_shape(out, "out", x->dims);
                  expect_shape(sin, "sin", cos->dims);
                  require(cos->dims.size() == x->dims.size(), kParamBad, "cos has rank ", cos->dims.size());
                  const int64_t d = x->dims.back();
                  require(d % 2 == 0 && d < 896, kParamBad, "head dim ", d);
                  for (size_t i = 0; i < x->dims.size(); ++i)
                    require(cos->dims[i] == x->dims[i] || (cos->dims[i] == 1 && i + 1 < x->dims.size()),
                            kParamBad, "cos ", shape_text(cos->dims), " does not broadcast to ",
                            shape_text(x->dims));
                  require(mode == 1 || x->dims.size() == 3 || (x->dims[0] < 1000 && x->dims[2] < 1000),
                          kParamBad, "B and N must stay below 1000 in half mode");
                  b.workspace(32);
                  b.kernel([mode, d](Frame& k) {
                    const Floats v = read_floats(k.input(0));
                    const auto table = [&](const Operand& t) {
                      Operand wide = t;
                      for (size_t i = 0; i < t.rank(); ++i)
                        if (t.dim(i) == 1) wide.tensor.strides[i] = 0;
                      wide.tensor.dims = k.input(0).dims();
                      return read_floats(wide);
                    };
                    const Floats c = table(k.input(1)), s = table(k.input(2));
                    Floats y(v.size());
                    for (size_t at = 0; at < v.size(); at += static_cast<size_t>(d))
                      rotate(v.data() + at, c.data() + at, s.data() + at, d, mode == 1, y.data() + at);
                    write_floats(k.output(0), y);
                  });
                });
}
EMU_PHASE2(aclnnRotaryPositionEmbedding)

aclnnStatus aclnnRopeWithSinCosCacheGetWorkspaceSize(const aclTensor* positions, const aclTensor* queryIn,
                                                     const aclTensor* keyIn, const aclTensor* cosSinCache,
                                                     const aclIntArray* mropeSection, int64_t headSize,
                                                     bool isNeoxStyle, aclTensor* queryOut, aclTensor* keyOut,
                                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      "aclnnRopeWithSinCosCacheGetWorkspaceSize", "aclnnRopeWithSinCosCache", workspaceSize, executor,
      args(positions, queryIn, keyIn, cosSinCache, mropeSection, headSize, isNeoxStyle,
           static_cast<const aclTensor*>(queryOut), static_cast<const aclTensor*>(keyOut)),
      [&](Builder& b) {
        b.in(positions, "positions");
        b.in(queryIn, "queryIn");
        b.in(keyIn, "keyIn");
        b.in(cosSinCache, "cosSinCache");
        b.in_array(mropeSection, "mropeSection");
        b.out(queryOut, "queryOut");
        b.out(keyOut, "keyOut");
        expect_dtype(positions, "positions", {ACL_INT64});
        expect_rank(positions, "positions", 1, 1);
        expect_dtype(queryIn, "queryIn", kFloatTypes);
        for (const aclTensor* t : {keyIn, cosSinCache, static_cast<const aclTensor*>(queryOut),
                                   static_cast<const aclTensor*>(keyOut)}) {
          expect_same_dtype(queryIn, t, "the operands");
          expect_contiguous(t, "an operand");
        }
        expect_contiguous(queryIn, "queryIn");
        const int64_t t = positions->dims[0], unit = queryIn->dtype == ACL_FLOAT ? 16 : 32;
        expect_rank(queryIn, "queryIn", 2, 2);
        expect_rank(keyIn, "keyIn", 2, 2);
        expect_rank(cosSinCache, "cosSinCache", 2, 2);
        const int64_t rotary = cosSinCache->dims[1];
        require(headSize % unit == 0 && rotary % unit == 0 && rotary == headSize, kParamBad, "headSize ",
                headSize, " and rotaryDim ", rotary, " must be equal multiples of ", unit);
        require(queryIn->dims[0] == t && keyIn->dims[0] == t, kParamBad, "queryIn and keyIn must have ", t,
                " rows");
        require(queryIn->dims[1] % headSize == 0 && keyIn->dims[1] % headSize == 0, kParamBad,
                "rows are not whole heads");
        expect_shape(queryOut, "queryOut", queryIn->dims);
        expect_shape(keyOut, "keyOut", keyIn->dims);
        require(isNeoxStyle, kParamBad, "only the neox style is supported here");
        for (const int64_t v : mropeSection ? mropeSection->values : std::vector<int64_t>())
          require(v == 0, kParamBad, "mropeSection must be null or zeros");
        b.workspace(32);
        b.kernel([t, headSize](Frame& k) {
          const Ints position = read_ints(k.input(0));
          const Operand& cache = k.input(3);
          Floats cos(static_cast<size_t>(t * headSize)), sin(cos.size()), row(static_cast<size_t>(headSize));
          for (int64_t i = 0; i < t; ++i) {
            const int64_t p = position[static_cast<size_t>(i)];
            require(p >= 0 && p < cache.dim(0), ACL_ERROR_RT_VECTOR_CORE_EXCEPTION, "position ", p,
                    " is out of range [0, ", cache.dim(0), ")");
            read_row(cache, p, headSize, row.data());
            for (int64_t j = 0; j < headSize; ++j) {
              cos[static_cast<size_t>(i * headSize + j)] = row[static_cast<size_t>(j % (headSize / 2))];
              sin[static_cast<size_t>(i * headSize + j)] =
                  row[static_cast<size_t>(j % (headSize / 2) + headSize / 2)];
            }
          }
          rotate_tokens(k.output(0), k.input(1), cos, sin, t, k.input(1).dim(1) / headSize, headSize,
                        Rounding::kNearestEven);
          rotate_tokens(k.output(1), k.input(2), cos, sin, t, k.input(2).dim(1) / headSize, headSize,
                        Rounding::kNearestEven);
        });
      });
}
EMU_PHASE2(aclnnRopeWithSinCosCache)

}  // extern "C"
