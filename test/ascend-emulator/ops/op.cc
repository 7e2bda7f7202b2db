#include "ops/op.h"

#include <algorithm>

namespace emu {

Builder::Builder(const char* op) : executor_(std::make_unique<aclOpExecutor>()) {
  executor_->op = op;
  executor_->device = current_context().device;
  executor_->kernel = [](Frame&) {};
}

Argument Builder::tensor_argument(const aclTensor* tensor, const char* name, Need need) {
  Argument argument;
  if (!tensor) {
    require(need == Need::kOptional, kParamNull, name, " is null");
    return argument;
  }
  require(meta_alive(Meta::kTensor, tensor), kParamBad, name, " is not a live tensor");
  require(element_size(tensor->dtype) > 0, kParamBad, name, " has dtype ", static_cast<int>(tensor->dtype));
  require(reinterpret_cast<uintptr_t>(tensor->data) % 32 == 0, kParamBad, name, ": address ", tensor->data,
          " is not 32-byte aligned");
  argument.is_tensor = true;
  argument.objects = {tensor};
  argument.tensors = {*tensor};
  return argument;
}

const aclTensor* Builder::in(const aclTensor* tensor, const char* name, Need need) {
  executor_->inputs.push_back(tensor_argument(tensor, name, need));
  return tensor;
}

const aclTensor* Builder::out(const aclTensor* tensor, const char* name, Need need) {
  executor_->outputs.push_back(tensor_argument(tensor, name, need));
  executor_->alias.push_back(-1);
  return tensor;
}

const aclTensor* Builder::inout(const aclTensor* tensor, const char* name) {
  in(tensor, name);
  out(tensor, name);
  executor_->alias.back() = static_cast<int>(executor_->inputs.size()) - 1;
  return tensor;
}

namespace {

Argument list_argument(const aclTensorList* list, const char* name) {
  require(list, kParamNull, name, " is null");
  require(meta_alive(Meta::kTensorList, list), kParamBad, name, " is not a live tensor list");
  Argument argument;
  argument.list = list;
  argument.is_tensor = true;
  for (const aclTensor* tensor : list->tensors) {
    require(reinterpret_cast<uintptr_t>(tensor->data) % 32 == 0, kParamBad, name, ": address ", tensor->data,
            " is not 32-byte aligned");
    argument.objects.push_back(tensor);
    argument.tensors.push_back(*tensor);
  }
  return argument;
}

}  // namespace

const aclTensorList* Builder::in_list(const aclTensorList* list, const char* name) {
  executor_->inputs.push_back(list_argument(list, name));
  return list;
}

const aclTensorList* Builder::out_list(const aclTensorList* list, const char* name) {
  executor_->outputs.push_back(list_argument(list, name));
  executor_->alias.push_back(-1);
  return list;
}

const aclIntArray* Builder::in_array(const aclIntArray* array, const char* name, Need need) {
  require(array || need == Need::kOptional, kParamNull, name, " is null");
  require(!array || meta_alive(Meta::kIntArray, array), kParamBad, name, " is not a live int array");
  executor_->inputs.emplace_back();
  return array;
}

aclOpExecutor* Builder::finish() {
  bool any_element = executor_->outputs.empty();
  std::string key = executor_->op;
  for (const auto* side : {&executor_->inputs, &executor_->outputs}) {
    key += side == &executor_->inputs ? " in" : " out";
    for (const Argument& argument : *side)
      for (const aclTensor& tensor : argument.tensors)
        key += text(" ", dtype_name(tensor.dtype), shape_text(tensor.dims));
  }
  for (const Argument& argument : executor_->outputs)
    for (const aclTensor& tensor : argument.tensors) any_element |= element_count(tensor.dims) > 0;
  if (!any_element) {  // nothing to do
    executor_->kernel = [](Frame&) {};
    executor_->workspace = 0;
  }
  executor_->key = key;
  return adopt_executor(std::move(executor_));
}

void expect_dtype(const aclTensor* tensor, const char* name, Dtypes allowed, int code) {
  if (!tensor || std::ranges::find(allowed, tensor->dtype) != allowed.end()) return;
  std::string names;
  for (const aclDataType dtype : allowed)
    names += (names.empty() ? "" : ", ") + std::string(dtype_name(dtype));
  refuse(code, name, " is ", dtype_name(tensor->dtype), ", allowed: ", names);
}

void expect_same_dtype(const aclTensor* a, const aclTensor* b, const char* what) {
  if (a && b && a->dtype != b->dtype)
    refuse(kParamBad, what, " differ in dtype: ", dtype_name(a->dtype), " and ", dtype_name(b->dtype));
}

void expect_shape(const aclTensor* tensor, const char* name, const Dims& dims, int code) {
  if (tensor && tensor->dims != dims)
    refuse(code, name, " has shape ", shape_text(tensor->dims), ", expected ", shape_text(dims));
}

void expect_rank(const aclTensor* tensor, const char* name, size_t low, size_t high, int code) {
  if (tensor && (tensor->dims.size() < low || tensor->dims.size() > high))
    refuse(code, name, " has rank ", tensor->dims.size(), ", expected ", low, " to ", high);
}

void expect_contiguous(const aclTensor* tensor, const char* name, int code) {
  if (tensor && !is_contiguous(*tensor))
    refuse(code, name, " ", shape_text(tensor->dims), " with strides ", shape_text(tensor->strides),
           " is not contiguous");
}

void expect_nd(const aclTensor* tensor, const char* name) {
  if (tensor && tensor->format == ACL_FORMAT_FRACTAL_NZ) refuse(kParamBad, name, " is in format FRACTAL_NZ");
}

int64_t normal_dim(int64_t dim, size_t rank) {
  const auto n = static_cast<int64_t>(rank ? rank : 1);
  require(dim >= -n && dim < n, kParamBad, "dim ", dim, " for rank ", rank);
  return dim < 0 ? dim + n : dim;
}

}  // namespace emu
