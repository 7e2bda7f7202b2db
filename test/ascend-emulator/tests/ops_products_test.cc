// Matrix products, 16-bit and int8, plain and in FRACTAL_NZ, against PyTorch's results.

#include "fixture.h"

namespace {

// (N, K) row-major seen as (K, N)
struct Transposed {
  explicit Transposed(const FixtureTensor& w)
      : memory(w.bytes),
        t(make_tensor({w.dims[1], w.dims[0]}, w.dtype, memory.at, {1, w.dims[1]}, 0, ACL_FORMAT_ND,
                      {w.dims[0], w.dims[1]})) {}
  ~Transposed() { ACL(aclDestroyTensor)(t); }
  Buffer memory;
  aclTensor* t;
};

std::vector<char> pack_nz(const FixtureTensor& w, int64_t element) {
  const int64_t rows = w.dims[0], columns = w.dims[1], c0 = 32 / element, row_blocks = (rows + 15) / 16;
  std::vector<char> out(static_cast<size_t>((columns + c0 - 1) / c0 * row_blocks * 16 * c0 * element));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(out.data() + (((c / c0 * row_blocks + r / 16) * 16 + r % 16) * c0 + c % c0) * element,
                  w.bytes.data() + (r * columns + c) * element, static_cast<size_t>(element));
  return out;
}

}  // namespace

TEST("mm with a transposed weight view") {
  Bound d;
  const Fixture& f = fixture("mm");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_BF16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnMm, d.stream, x, w.t, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  Tensor y2 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnMatmul, d.stream, x, w.t, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  CLEAN();
}

TEST("matmul in fp16") {
  Bound d;
  const Fixture& f = fixture("matmul_half");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_FLOAT16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnMm, d.stream, x, w.t, y, int8_t{0}));
  CLOSE(y, f.at("y"), 1.0 / 2048, 1e-4);
  CLEAN();
}

TEST("addmm with an fp32 bias, plain and in NZ") {
  Bound d;
  One one;
  const Fixture& f = fixture("addmm");
  Tensor x = f.at("x").upload(), bias = f.at("bias").upload(), y = like(f.at("y"), ACL_BF16),
         y2 = like(f.at("y"), ACL_BF16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnAddmm, d.stream, bias, x, w.t, one, one, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  const FixtureTensor& fw = f.at("w");
  Buffer packed(pack_nz(fw, 2));
  const int64_t n = fw.dims[0], k = fw.dims[1];
  aclTensor* nz =
      make_tensor({k, n}, ACL_BF16, packed.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnAddmmWeightNz, d.stream, bias, x, nz, one, one, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  OK(ACL(aclDestroyTensor)(nz));
  CLEAN();
}

TEST("weights are turned into NZ on the device, by both ways") {
  Bound d;
  const Fixture& f = fixture("mm");
  const FixtureTensor& fw = f.at("w");
  const int64_t n = fw.dims[0], k = fw.dims[1];
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_BF16), y2 = like(f.at("y"), ACL_BF16);
  // In place: the object reports the new format.
  aclIntArray* shape = ints({n, k});
  uint64_t elements = 0;
  OK(ACL(aclnnCalculateMatmulWeightSizeV2)(shape, ACL_BF16, &elements));
  OK(ACL(aclDestroyIntArray)(shape));
  CHECK_EQ(elements, static_cast<uint64_t>(n * k));
  Buffer weight(fw.bytes);
  aclTensor* stored = make_tensor({n, k}, ACL_BF16, weight.at);
  OK(RUN(aclnnTransMatmulWeight, d.stream, stored));
  aclFormat format = ACL_FORMAT_ND;
  OK(ACL(aclGetFormat)(stored, &format));
  CHECK_EQ(format, ACL_FORMAT_FRACTAL_NZ);
  aclTensor* view =
      make_tensor({k, n}, ACL_BF16, weight.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnMatmulWeightNz, d.stream, x, view, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  // Out of place.
  Tensor plain = fw.upload();
  int64_t* dst_shape = nullptr;
  uint64_t rank = 0;
  int actual = 0;
  OK(ACL(aclnnNpuFormatCastCalculateSizeAndFormat)(plain, 29, ACL_BF16, &dst_shape, &rank, &actual));
  Buffer cast(static_cast<size_t>(n * k * 2));
  aclTensor* to = make_tensor({n, k}, ACL_BF16, cast.at, {}, 0, static_cast<aclFormat>(actual),
                              Dims(dst_shape, dst_shape + rank));
  delete[] dst_shape;
  OK(RUN(aclnnNpuFormatCast, d.stream, plain, to));
  aclTensor* view2 =
      make_tensor({k, n}, ACL_BF16, cast.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnMatmulWeightNz, d.stream, x, view2, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  for (aclTensor* t : {stored, view, to, view2}) OK(ACL(aclDestroyTensor)(t));
  CLEAN();
}

TEST("dynamic quantisation") {
  Bound d;
  const Fixture& f = fixture("dynamic_quant");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_INT8), scale = like(f.at("scale"), ACL_FLOAT);
  OK(RUN(aclnnDynamicQuant, d.stream, x, nullptr, y, scale));
  CLOSE(scale, f.at("scale"), 1e-6, 0);
  const auto got = y.buffer.read<int8_t>(), want = f.at("y").as<int8_t>();
  for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1);
  CLEAN();
}

TEST("int8 matrix products in three forms") {
  Bound d;
  const Fixture& f = fixture("quant_matmul");
  Tensor a = f.at("a").upload(), w = f.at("w").upload(), ws = f.at("ws").upload(), ts = f.at("ts").upload(),
         bias = f.at("bias").upload();
  aclTensor* const none = nullptr;
  Tensor y = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulV5, d.stream, a, w, ts, ws, none, none, none, none, bias, false, true, int64_t{0},
         y));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-5);
  Tensor y4 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulV4, d.stream, a, w, ws, none, ts, bias, false, true, y4));
  CLOSE(y4, f.at("y"), kHalfUnit, 1e-5);
  const int64_t n = f.at("w").dims[0], k = f.at("w").dims[1];
  Buffer packed(pack_nz(f.at("w"), 1));
  aclTensor* nz =
      make_tensor({n, k}, ACL_INT8, packed.at, {}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 32, n / 16, 16, 32});
  Tensor y5 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulWeightNz, d.stream, a, nz, ts, ws, none, none, none, none, bias, false, true,
         int64_t{0}, y5));
  CLOSE(y5, f.at("y"), kHalfUnit, 1e-5);
  OK(ACL(aclDestroyTensor)(nz));
  CLEAN();
}
