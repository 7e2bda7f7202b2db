#include "meta/meta.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <ostream>
#include <unordered_set>

#include "control/api.h"

namespace emu {
namespace {

struct Live {
  std::mutex mutex;
  std::array<std::unordered_set<const void*>, static_cast<size_t>(Meta::kEnd)> objects;  // guarded by mutex
};

Live& live() {
  static auto* instance = new Live;
  return *instance;
}

}  // namespace

void add_meta(Meta kind, const void* object) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  l.objects[static_cast<size_t>(kind)].insert(object);
}

bool remove_meta(Meta kind, const void* object) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  return l.objects[static_cast<size_t>(kind)].erase(object) > 0;
}

bool meta_alive(Meta kind, const void* object) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  return l.objects[static_cast<size_t>(kind)].contains(object);
}

uint64_t live_meta(Meta kind) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  return l.objects[static_cast<size_t>(kind)].size();
}

size_t element_size(aclDataType dtype) {
  switch (dtype) {
    case ACL_INT8:
    case ACL_UINT8:
    case ACL_BOOL:
      return 1;
    case ACL_FLOAT16:
    case ACL_BF16:
    case ACL_INT16:
    case ACL_UINT16:
      return 2;
    case ACL_FLOAT:
    case ACL_INT32:
    case ACL_UINT32:
      return 4;
    case ACL_INT64:
    case ACL_UINT64:
    case ACL_DOUBLE:
      return 8;
    default:
      return 0;
  }
}

const char* dtype_name(aclDataType dtype) {
  switch (dtype) {
    case ACL_FLOAT:
      return "fp32";
    case ACL_FLOAT16:
      return "fp16";
    case ACL_BF16:
      return "bf16";
    case ACL_DOUBLE:
      return "fp64";
    case ACL_INT8:
      return "int8";
    case ACL_INT16:
      return "int16";
    case ACL_INT32:
      return "int32";
    case ACL_INT64:
      return "int64";
    case ACL_UINT8:
      return "uint8";
    case ACL_UINT16:
      return "uint16";
    case ACL_UINT32:
      return "uint32";
    case ACL_UINT64:
      return "uint64";
    case ACL_BOOL:
      return "bool";
    default:
      return "unsupported dtype";
  }
}

bool is_float(aclDataType dtype) {
  return dtype == ACL_FLOAT || dtype == ACL_FLOAT16 || dtype == ACL_BF16 || dtype == ACL_DOUBLE;
}

bool is_integer(aclDataType dtype) {
  return !is_float(dtype) && element_size(dtype) > 0;
}

int64_t element_count(const std::vector<int64_t>& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

bool is_contiguous(const aclTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.dims.size(); i-- > 0;) {
    if (tensor.dims[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.dims[i];
  }
  return true;
}

Extent extent_of(const aclTensor& tensor) {
  const auto size = static_cast<int64_t>(element_size(tensor.dtype));
  if (tensor.format == ACL_FORMAT_FRACTAL_NZ)
    return {tensor.offset * size, (tensor.offset + element_count(tensor.storage)) * size};
  if (element_count(tensor.dims) == 0) return {};
  int64_t low = tensor.offset, high = tensor.offset;
  for (size_t i = 0; i < tensor.dims.size(); ++i) {
    const int64_t reach = (tensor.dims[i] - 1) * tensor.strides[i];
    (reach < 0 ? low : high) += reach;
  }
  return {low * size, (high + 1) * size};
}

std::string shape_text(const std::vector<int64_t>& dims) {
  std::string out = "(";
  for (size_t i = 0; i < dims.size(); ++i) out += (i ? "," : "") + std::to_string(dims[i]);
  return out + ")";
}

void show(std::ostream& out, const aclTensor* tensor) {
  if (!tensor) {
    out << "null";
  } else if (!meta_alive(Meta::kTensor, tensor)) {
    out << static_cast<const void*>(tensor) << " (no tensor)";
  } else {
    out << dtype_name(tensor->dtype) << shape_text(tensor->dims);
    if (!is_contiguous(*tensor)) out << " strides " << shape_text(tensor->strides);
    if (tensor->offset) out << " offset " << tensor->offset;
    if (tensor->format != ACL_FORMAT_ND) out << " format " << static_cast<int>(tensor->format);
    out << " at " << tensor->data;
  }
}

void show(std::ostream& out, const aclTensorList* list) {
  if (!list) {
    out << "null";
    return;
  }
  if (!meta_alive(Meta::kTensorList, list)) {
    out << static_cast<const void*>(list) << " (no tensor list)";
    return;
  }
  out << "[";
  for (size_t i = 0; i < list->tensors.size(); ++i) {
    if (i) out << ", ";
    show(out, static_cast<const aclTensor*>(list->tensors[i]));
  }
  out << "]";
}

void show(std::ostream& out, const aclIntArray* array) {
  if (!array) {
    out << "null";
    return;
  }
  if (!meta_alive(Meta::kIntArray, array)) {
    out << static_cast<const void*>(array) << " (no int array)";
    return;
  }
  out << "{";
  for (size_t i = 0; i < array->values.size() && i < 32; ++i) out << (i ? "," : "") << array->values[i];
  if (array->values.size() > 32) out << ",... " << array->values.size();
  out << "}";
}

void show(std::ostream& out, const aclScalar* scalar) {
  if (!scalar)
    out << "null";
  else if (!meta_alive(Meta::kScalar, scalar))
    out << static_cast<const void*>(scalar) << " (no scalar)";
  else
    out << dtype_name(scalar->dtype) << " " << scalar->value;
}

}  // namespace emu
