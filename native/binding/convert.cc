#include "binding/convert.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace agentinfer {
namespace {

Napi::Value field(const Napi::Object& object, const char* key) {
  return object.Get(key);
}

[[noreturn]] void wrong(const char* key, const char* expected) {
  fail(ErrorCode::kInvalidArgument, key, ": expected ", expected);
}

template <typename Array>
auto copy_of(const Napi::Value& value, napi_typedarray_type type, const char* what, const char* expected) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) wrong(what, expected);
  const auto array = value.As<Array>();
  using Element = std::remove_cvref_t<decltype(*array.Data())>;
  return std::vector<Element>(array.Data(), array.Data() + array.ElementLength());
}

}  // namespace

Napi::Error to_js_error(Napi::Env env, std::string_view code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", std::string(code));
  return error;
}

Napi::Error current_js_error(Napi::Env env) {
  try {
    throw;
  } catch (const Error& error) {
    return to_js_error(env, error_code_name(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return to_js_error(env, error_code_name(ErrorCode::kOutOfMemory), "host memory ran out");
  } catch (const std::exception& error) {
    return to_js_error(env, error_code_name(ErrorCode::kInternal), error.what());
  }
}

double number_field(const Napi::Object& object, const char* key, double fallback) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return fallback;
  if (!value.IsNumber()) wrong(key, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer_field(const Napi::Object& object, const char* key, int64_t fallback) {
  const double value = number_field(object, key, static_cast<double>(fallback));
  if (std::trunc(value) != value || std::fabs(value) > 9007199254740991.0) wrong(key, "an integer");
  return static_cast<int64_t>(value);
}

std::string string_field(const Napi::Object& object, const char* key, const std::string& fallback) {
  const Napi::Value value = field(object, key);
  return value.IsUndefined() ? fallback : utf8(value, key);
}

bool bool_field(const Napi::Object& object, const char* key, bool fallback) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return fallback;
  if (!value.IsBoolean()) wrong(key, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::vector<int32_t> int32_array_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = field(object, key);
  return value.IsUndefined() ? std::vector<int32_t>{} : int32_array(value, key);
}

std::vector<double> float64_array_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return {};
  return copy_of<Napi::Float64Array>(value, napi_float64_array, key, "a Float64Array");
}

std::vector<int32_t> int32_array(const Napi::Value& value, const char* what) {
  return copy_of<Napi::Int32Array>(value, napi_int32_array, what, "an Int32Array");
}

std::string utf8(const Napi::Value& value, const char* what) {
  if (!value.IsString()) wrong(what, "a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Int32Array to_int32_array(Napi::Env env, const int32_t* data, size_t size) {
  Napi::Int32Array array = Napi::Int32Array::New(env, size);
  std::copy_n(data, size, array.Data());
  return array;
}

}  // namespace agentinfer
