#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "model/tensor_names.h"
#include "tensor/check.h"
#include "tensor/elements.h"
#include "tensor/json.h"

namespace agentinfer {

namespace {

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// "a, b, c and 7 more"
std::string some_of(const std::vector<std::string_view>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 5); ++i)
    text += (i == 0 ? "" : ", ") + std::string(names[i].substr(0, 200));
  if (names.size() > 5) text += " and " + std::to_string(names.size() - 5) + " more";
  return text;
}

// Of a floating tensor, or of an I8 or I32 one (offsets).
float element(const TensorView& tensor, size_t i) {
  const std::byte* const at = tensor.data.data() + i * dtype_size(tensor.dtype);
  if (tensor.dtype == DType::kI8) return static_cast<float>(static_cast<int8_t>(*at));
  if (tensor.dtype != DType::kI32) return read_element(tensor, static_cast<int64_t>(i));
  int32_t whole = 0;
  std::memcpy(&whole, at, sizeof whole);
  return static_cast<float>(whole);
}

void check_shape(const ExpectedTensor& expected, const TensorView& tensor) {
  if (tensor.shape == expected.shape) return;
  const bool column = expected.role == TensorRole::kScale || expected.role == TensorRole::kOffset;
  if (column && tensor.shape == std::vector<int64_t>{expected.shape[0], 1}) return;
  fail(ErrorCode::kModelInvalid, "tensor ", expected.name, ": expected shape ", shape_string(expected.shape),
       ", got ", shape_string(tensor.shape));
}

void check_dtype(const ExpectedTensor& expected, const TensorView& tensor, bool quantized) {
  const bool int8 = expected.role == TensorRole::kMatrix && quantized;
  const bool offset = expected.role == TensorRole::kOffset;
  const bool good = int8 ? tensor.dtype == DType::kI8
                         : is_float(tensor.dtype) ||
                               (offset && (tensor.dtype == DType::kI8 || tensor.dtype == DType::kI32));
  if (good) return;
  fail(ErrorCode::kModelInvalid, "tensor ", expected.name, ": expected ", int8 ? "I8" : "F32, F16 or BF16",
       ", got ", dtype_name(tensor.dtype),
       int8 ? " (the config says int8 weights; folders that mix int8 and 16-bit matrices are not supported)"
            : "");
}

void check_scale(const TensorView& tensor) {
  for (size_t i = 0; i < static_cast<size_t>(tensor.elements()); ++i)
    if (const float value = element(tensor, i); !std::isfinite(value) || value < 0)
      fail(ErrorCode::kModelInvalid, "tensor ", tensor.name, ": row ", i,
           ": expected a finite scale of at least 0, got ", value);
}

void check_offset(const TensorView& tensor) {
  for (size_t i = 0; i < static_cast<size_t>(tensor.elements()); ++i)
    if (const float value = element(tensor, i); value != 0)
      fail(ErrorCode::kModelUnsupported, "tensor ", tensor.name, ": row ", i, ": expected offset 0, got ",
           value, "; only symmetric int8 weights are supported");
}

void check_inv_freq(const ModelConfig& config, const TensorView& tensor) {
  const std::vector<float> expected = rope_inv_freq(config);
  // 16-bit: one unit in the last place of bf16 is 2^-8; f16 holds small frequencies as subnormals of step
  // 2^-24.
  const double relative = tensor.dtype == DType::kF32 ? 1e-4 : 0x1p-7;
  const double absolute = tensor.dtype == DType::kF16 ? 0x1p-24 : 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const float value = element(tensor, i);
    if (!(std::fabs(value - expected[i]) <= relative * expected[i] + absolute))
      fail(ErrorCode::kModelInvalid, "tensor ", tensor.name, ": element ", i, ": rope_theta ",
           config.rope_theta, " and head_dim ", config.head_dim, " give ", expected[i], ", got ", value);
  }
}

void check_one(const ModelConfig& config, const ExpectedTensor& expected, const TensorView& tensor) {
  check_shape(expected, tensor);
  check_dtype(expected, tensor, config.quantized_w8a8);
  switch (expected.role) {
    case TensorRole::kScale:
      check_scale(tensor);
      break;
    case TensorRole::kOffset:
      check_offset(tensor);
      break;
    case TensorRole::kInvFreq:
      check_inv_freq(config, tensor);
      break;
    default:
      break;
  }
}

}  // namespace

void check_tensors(const ModelConfig& config, const Checkpoint& checkpoint) {
  const std::vector<ExpectedTensor> all = expected_tensors(config);
  std::unordered_set<std::string_view> known;
  std::vector<std::string_view> missing, extra;
  for (const ExpectedTensor& expected : all) {
    known.insert(expected.name);
    const TensorView* const tensor = checkpoint.find(expected.name);
    if (!tensor && !expected.optional) missing.push_back(expected.name);
    if (tensor) check_one(config, expected, *tensor);
  }
  for (const std::string& name : checkpoint.names())
    if (!known.contains(name)) extra.push_back(name);
  if (!missing.empty())
    fail(ErrorCode::kModelInvalid, "missing ", missing.size(), " of ", all.size(),
         " tensors that config.json implies: ", some_of(missing),
         extra.empty() ? "" : "; unexpected tensors: ", some_of(extra));
  if (!extra.empty())
    fail(ErrorCode::kModelInvalid, extra.size(),
         " unexpected tensors; config.json implies no such tensor: ", some_of(extra));
}

}  // namespace agentinfer
