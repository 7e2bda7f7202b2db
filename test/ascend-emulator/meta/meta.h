#pragma once
// The objects operators are called with: tensors, lists, arrays, scalars. Handles are checked against the set
// of live ones.

#include <cstdint>
#include <string>
#include <vector>

#include "abi/types.h"

struct aclTensor {
  std::vector<int64_t> dims, strides;  // view, in elements
  int64_t offset = 0;
  aclDataType dtype = ACL_DT_UNDEFINED;
  aclFormat format = ACL_FORMAT_ND;
  std::vector<int64_t> storage;
  void* data = nullptr;
};
struct aclScalar {
  aclDataType dtype = ACL_DT_UNDEFINED;
  double value = 0;
  int64_t integer = 0;
};
struct aclIntArray {
  std::vector<int64_t> values;
};
struct aclFloatArray {
  std::vector<float> values;
};
struct aclBoolArray {
  std::vector<char> values;
};
struct aclTensorList {
  std::vector<aclTensor*> tensors;
};
struct aclScalarList {
  std::vector<aclScalar*> scalars;
};

namespace emu {

enum class Meta { kTensor, kScalar, kIntArray, kFloatArray, kBoolArray, kTensorList, kScalarList, kEnd };

template <class T>
constexpr Meta meta_kind();
template <>
constexpr Meta meta_kind<aclTensor>() {
  return Meta::kTensor;
}
template <>
constexpr Meta meta_kind<aclScalar>() {
  return Meta::kScalar;
}
template <>
constexpr Meta meta_kind<aclIntArray>() {
  return Meta::kIntArray;
}
template <>
constexpr Meta meta_kind<aclFloatArray>() {
  return Meta::kFloatArray;
}
template <>
constexpr Meta meta_kind<aclBoolArray>() {
  return Meta::kBoolArray;
}
template <>
constexpr Meta meta_kind<aclTensorList>() {
  return Meta::kTensorList;
}
template <>
constexpr Meta meta_kind<aclScalarList>() {
  return Meta::kScalarList;
}

void add_meta(Meta kind, const void* object);
// True when it was there.
bool remove_meta(Meta kind, const void* object);
bool meta_alive(Meta kind, const void* object);
uint64_t live_meta(Meta kind);

size_t element_size(aclDataType dtype);
const char* dtype_name(aclDataType dtype);
bool is_float(aclDataType dtype);  // fp32, fp16, bf16, double
bool is_integer(aclDataType dtype);
int64_t element_count(const std::vector<int64_t>& dims);
bool is_contiguous(const aclTensor& tensor);
// First and one-past-last byte touched by the view, relative to `data`; {0, 0} when empty. For blocked
// formats the storage.
struct Extent {
  int64_t begin = 0, end = 0;
};
Extent extent_of(const aclTensor& tensor);
std::string shape_text(const std::vector<int64_t>& dims);

}  // namespace emu
