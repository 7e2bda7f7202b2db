// The ABI of meta objects and executors (libnnopbase.so).

#include <bit>
#include <cmath>
#include <cstring>

#include "abi/acl_meta.h"
#include "control/api.h"
#include "control/lifecycle.h"
#include "meta/executor.h"
#include "meta/meta.h"
#include "ops/numeric.h"

namespace {

using namespace emu;

constexpr int kNull = ACLNN_ERR_PARAM_NULLPTR;
constexpr int kBad = ACLNN_ERR_PARAM_INVALID;

template <class T>
void destroy(const T* object) {
  if (!object) return;
  require(remove_meta(meta_kind<T>(), object), kBad, static_cast<const void*>(object),
          " was destroyed before, or never made");
  delete object;
}

template <class T>
const T& alive(const T* object) {
  require(object, kNull, "the object is null");
  require(meta_alive(meta_kind<T>(), object), kBad, static_cast<const void*>(object),
          " is not a live object");
  return *object;
}

template <class T>
T* keep(T* object) {
  add_meta(meta_kind<T>(), object);
  return object;
}

void fill(aclTensor& t, const int64_t* dims, uint64_t rank, aclDataType dtype, const int64_t* stride,
          int64_t offset, aclFormat format, const int64_t* storage, uint64_t storage_rank, void* data) {
  require(dims || rank == 0, kBad, "viewDims is null");
  require(storage || storage_rank == 0, kBad, "storageDims is null");
  require(rank <= 25, kBad, "rank ", rank);
  t.dims.assign(dims, dims + rank);
  for (const int64_t d : t.dims) require(d >= 0, kBad, "negative dimension in ", shape_text(t.dims));
  t.strides.resize(rank);
  int64_t contiguous = 1;
  for (size_t i = rank; i-- > 0;) {
    t.strides[i] = stride ? stride[i] : contiguous;
    contiguous *= t.dims[i];
  }
  t.dtype = dtype;
  t.offset = offset;
  t.format = format;
  t.storage.assign(storage, storage + storage_rank);
  t.data = data;
}

// A view may not reach outside of the storage it names.
void check_view(const aclTensor& t) {
  if (t.format == ACL_FORMAT_FRACTAL_NZ || t.storage.empty() || element_size(t.dtype) == 0) return;
  const auto bytes = static_cast<int64_t>(element_size(t.dtype)) * element_count(t.storage);
  const Extent e = extent_of(t);
  require(e.begin >= 0 && e.end <= bytes, kBad, "the view ", shape_text(t.dims), " strides ",
          shape_text(t.strides), " offset ", t.offset, " reaches outside of its storage ",
          shape_text(t.storage));
}

double scalar_value(const void* value, aclDataType dtype, int64_t* integer) {
  double result = 0;
  switch (dtype) {
    case ACL_FLOAT: {
      float v;
      std::memcpy(&v, value, 4);
      result = v;
      break;
    }
    case ACL_DOUBLE:
      std::memcpy(&result, value, 8);
      break;
    case ACL_FLOAT16: {
      uint16_t v;
      std::memcpy(&v, value, 2);
      result = half_to_float(v);
      break;
    }
    case ACL_BF16: {
      uint16_t v;
      std::memcpy(&v, value, 2);
      result = bf16_to_float(v);
      break;
    }
    case ACL_INT8: {
      int8_t v;
      std::memcpy(&v, value, 1);
      result = v;
      break;
    }
    case ACL_UINT8:
    case ACL_BOOL: {
      uint8_t v;
      std::memcpy(&v, value, 1);
      result = v;
      break;
    }
    case ACL_INT16: {
      int16_t v;
      std::memcpy(&v, value, 2);
      result = v;
      break;
    }
    case ACL_INT32: {
      int32_t v;
      std::memcpy(&v, value, 4);
      result = v;
      break;
    }
    case ACL_INT64:
      std::memcpy(integer, value, 8);
      return static_cast<double>(*integer);
    default:
      refuse(kBad, "scalar of dtype ", static_cast<int>(dtype));
  }
  *integer = std::isfinite(result) ? static_cast<int64_t>(result) : 0;
  return result;
}

// The caller releases the array with delete[].
void hand_out(const std::vector<int64_t>& values, int64_t** out, uint64_t* count) {
  require(out && count, kNull, "null argument");
  *out = new int64_t[values.size()];
  std::memcpy(*out, values.data(), values.size() * sizeof(int64_t));
  *count = values.size();
}

template <class T>
void hand_size(const char*, const T* object, uint64_t* size, size_t n) {
  alive(object);
  require(size, kNull, "size is null");
  *size = n;
}

}  // namespace

extern "C" {

aclnnStatus aclnnInit(const char* configPath) {
  return api("aclnnInit", args(configPath), [&] { initialise_operators(); });
}

aclnnStatus aclnnFinalize(void) {
  return api("aclnnFinalize", args(), [&] {});
}

aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType,
                           const int64_t* stride, int64_t offset, aclFormat format,
                           const int64_t* storageDims, uint64_t storageDimsNum, void* tensorData) {
  return api_handle<aclTensor*>(
      "aclCreateTensor",
      args(viewDims, viewDimsNum, dataType, stride, offset, format, storageDims, storageDimsNum, tensorData),
      nullptr, [&] {
        auto t = std::make_unique<aclTensor>();
        fill(*t, viewDims, viewDimsNum, dataType, stride, offset, format, storageDims, storageDimsNum,
             tensorData);
        check_view(*t);
        return keep(t.release());
      });
}

aclnnStatus aclInitTensor(aclTensor* tensor, const int64_t* viewDims, uint64_t viewDimsNum,
                          aclDataType dataType, const int64_t* stride, int64_t offset, aclFormat format,
                          const int64_t* storageDims, uint64_t storageDimsNum, void* tensorDataAddr) {
  return api("aclInitTensor", args(static_cast<const aclTensor*>(tensor), viewDims, viewDimsNum, dataType),
             [&] {
               alive(tensor);
               aclTensor t;
               fill(t, viewDims, viewDimsNum, dataType, stride, offset, format, storageDims, storageDimsNum,
                    tensorDataAddr);
               check_view(t);
               *tensor = t;
             });
}

aclnnStatus aclDestroyTensor(const aclTensor* tensor) {
  return api("aclDestroyTensor", args(tensor), [&] { destroy(tensor); });
}

aclScalar* aclCreateScalar(void* value, aclDataType dataType) {
  return api_handle<aclScalar*>("aclCreateScalar", args(value, dataType), nullptr, [&] {
    require(value, kNull, "value is null");
    auto s = std::make_unique<aclScalar>();
    s->dtype = dataType;
    s->value = scalar_value(value, dataType, &s->integer);
    return keep(s.release());
  });
}

aclnnStatus aclDestroyScalar(const aclScalar* scalar) {
  return api("aclDestroyScalar", args(scalar), [&] { destroy(scalar); });
}

aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size) {
  return api_handle<aclIntArray*>("aclCreateIntArray", args(value, size), nullptr, [&] {
    require(value || size == 0, kNull, "value is null");
    return keep(new aclIntArray{{value, value + size}});
  });
}

aclnnStatus aclDestroyIntArray(const aclIntArray* array) {
  return api("aclDestroyIntArray", args(array), [&] { destroy(array); });
}

aclnnStatus aclGetIntArraySize(const aclIntArray* array, uint64_t* size) {
  return api("aclGetIntArraySize", args(array, size),
             [&] { hand_size("", array, size, alive(array).values.size()); });
}

aclFloatArray* aclCreateFloatArray(const float* value, uint64_t size) {
  return api_handle<aclFloatArray*>("aclCreateFloatArray", args(value, size), nullptr, [&] {
    require(value || size == 0, kNull, "value is null");
    return keep(new aclFloatArray{{value, value + size}});
  });
}

aclnnStatus aclDestroyFloatArray(const aclFloatArray* array) {
  return api("aclDestroyFloatArray", args(array), [&] { destroy(array); });
}

aclnnStatus aclGetFloatArraySize(const aclFloatArray* array, uint64_t* size) {
  return api("aclGetFloatArraySize", args(array, size),
             [&] { hand_size("", array, size, alive(array).values.size()); });
}

aclBoolArray* aclCreateBoolArray(const bool* value, uint64_t size) {
  return api_handle<aclBoolArray*>("aclCreateBoolArray", args(value, size), nullptr, [&] {
    require(value || size == 0, kNull, "value is null");
    return keep(new aclBoolArray{{value, value + size}});
  });
}

aclnnStatus aclDestroyBoolArray(const aclBoolArray* array) {
  return api("aclDestroyBoolArray", args(array), [&] { destroy(array); });
}

aclnnStatus aclGetBoolArraySize(const aclBoolArray* array, uint64_t* size) {
  return api("aclGetBoolArraySize", args(array, size),
             [&] { hand_size("", array, size, alive(array).values.size()); });
}

aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size) {
  return api_handle<aclTensorList*>("aclCreateTensorList", args(value, size), nullptr, [&] {
    require(value || size == 0, kNull, "value is null");
    auto list = std::make_unique<aclTensorList>();
    for (uint64_t i = 0; i < size; ++i) {
      alive(value[i]);
      list->tensors.push_back(const_cast<aclTensor*>(value[i]));
    }
    return keep(list.release());
  });
}

aclnnStatus aclDestroyTensorList(const aclTensorList* array) {
  return api("aclDestroyTensorList", args(array), [&] {
    if (!array) return;
    alive(array);
    const std::vector<aclTensor*> tensors = array->tensors;
    destroy(array);
    for (const aclTensor* tensor : tensors) destroy(tensor);
  });
}

aclnnStatus aclGetTensorListSize(const aclTensorList* tensorList, uint64_t* size) {
  return api("aclGetTensorListSize", args(tensorList, size),
             [&] { hand_size("", tensorList, size, alive(tensorList).tensors.size()); });
}

aclScalarList* aclCreateScalarList(const aclScalar* const* value, uint64_t size) {
  return api_handle<aclScalarList*>("aclCreateScalarList", args(value, size), nullptr, [&] {
    require(value || size == 0, kNull, "value is null");
    auto list = std::make_unique<aclScalarList>();
    for (uint64_t i = 0; i < size; ++i) {
      alive(value[i]);
      list->scalars.push_back(const_cast<aclScalar*>(value[i]));
    }
    return keep(list.release());
  });
}

aclnnStatus aclDestroyScalarList(const aclScalarList* array) {
  return api("aclDestroyScalarList", args(array), [&] {
    if (!array) return;
    const std::vector<aclScalar*> scalars = alive(array).scalars;
    destroy(array);
    for (const aclScalar* scalar : scalars) destroy(scalar);
  });
}

aclnnStatus aclGetScalarListSize(const aclScalarList* scalarList, uint64_t* size) {
  return api("aclGetScalarListSize", args(scalarList, size),
             [&] { hand_size("", scalarList, size, alive(scalarList).scalars.size()); });
}

aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum) {
  return api("aclGetViewShape", args(tensor), [&] { hand_out(alive(tensor).dims, viewDims, viewDimsNum); });
}

aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** storageDims, uint64_t* storageDimsNum) {
  return api("aclGetStorageShape", args(tensor),
             [&] { hand_out(alive(tensor).storage, storageDims, storageDimsNum); });
}

aclnnStatus aclGetViewStrides(const aclTensor* tensor, int64_t** stridesValue, uint64_t* stridesNum) {
  return api("aclGetViewStrides", args(tensor),
             [&] { hand_out(alive(tensor).strides, stridesValue, stridesNum); });
}

aclnnStatus aclGetViewOffset(const aclTensor* tensor, int64_t* offset) {
  return api("aclGetViewOffset", args(tensor), [&] {
    require(offset, kNull, "offset is null");
    *offset = alive(tensor).offset;
  });
}

aclnnStatus aclGetFormat(const aclTensor* tensor, aclFormat* format) {
  return api("aclGetFormat", args(tensor), [&] {
    require(format, kNull, "format is null");
    *format = alive(tensor).format;
  });
}

aclnnStatus aclGetDataType(const aclTensor* tensor, aclDataType* dataType) {
  return api("aclGetDataType", args(tensor), [&] {
    require(dataType, kNull, "dataType is null");
    *dataType = alive(tensor).dtype;
  });
}

aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** addr) {
  return api("aclGetRawTensorAddr", args(tensor), [&] {
    require(addr, kNull, "addr is null");
    *addr = alive(tensor).data;
  });
}

aclnnStatus aclSetRawTensorAddr(aclTensor* tensor, void* addr) {
  return api("aclSetRawTensorAddr", args(static_cast<const aclTensor*>(tensor), addr), [&] {
    alive(tensor);
    tensor->data = addr;
  });
}

}  // extern "C"
