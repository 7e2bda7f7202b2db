#include "binding/convert.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>

#include "tensor/current_error.h"

namespace agentinfer {
namespace {

Napi::Value field(const Napi::Object& object, const char* key) {
  return object.Get(key);
}

std::string described(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return value.As<Napi::Boolean>().Value() ? "true" : "false";
    case napi_number: {
      std::ostringstream text;
      text << std::setprecision(17) << value.As<Napi::Number>().DoubleValue();
      return text.str();
    }
    case napi_string:
      return "a string";
    case napi_function:
      return "a function";
    case napi_object:
      return value.IsArray() ? "an array" : value.IsTypedArray() ? "another typed array" : "an object";
    default:
      return "a value of another type";
  }
}

[[noreturn]] void wrong(const char* key, const char* expected, const Napi::Value& value) {
  fail(ErrorCode::kInvalidArgument, key, ": expected ", expected, ", got ", described(value));
}

// An integer that lies in [low, high], or the fallback.
int64_t integer_in(const Napi::Object& object, const char* key, int64_t fallback, double low, double high,
                   const char* expected) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return fallback;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
  if (std::trunc(number) != number || !(number >= low && number <= high)) wrong(key, expected, value);
  return static_cast<int64_t>(number);
}

constexpr double kMaxSafeInteger = 9007199254740991.0;

template <typename Array>
auto copy_of(const Napi::Value& value, napi_typedarray_type type, const char* what, const char* expected) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    wrong(what, expected, value);
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

Napi::Error to_js_error(Napi::Env env, const Error& error) {
  return to_js_error(env, error_code_name(error.code()), error.what());
}

Napi::Error current_js_error(Napi::Env env) {
  return to_js_error(env, current_error());
}

double number_field(const Napi::Object& object, const char* key, double fallback) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return fallback;
  if (!value.IsNumber()) wrong(key, "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer_field(const Napi::Object& object, const char* key, int64_t fallback) {
  return integer_in(object, key, fallback, -kMaxSafeInteger, kMaxSafeInteger, "an integer");
}

int32_t int32_field(const Napi::Object& object, const char* key, int32_t fallback) {
  constexpr auto kLow = std::numeric_limits<int32_t>::min(), kHigh = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(
      integer_in(object, key, fallback, kLow, kHigh, "an integer from -2147483648 to 2147483647"));
}

size_t size_field(const Napi::Object& object, const char* key, size_t fallback) {
  return static_cast<size_t>(integer_in(object, key, static_cast<int64_t>(fallback), 0, kMaxSafeInteger,
                                        "an integer of at least 0"));
}

std::string string_field(const Napi::Object& object, const char* key, const std::string& fallback) {
  const Napi::Value value = field(object, key);
  return value.IsUndefined() ? fallback : utf8(value, key);
}

bool bool_field(const Napi::Object& object, const char* key, bool fallback) {
  const Napi::Value value = field(object, key);
  if (value.IsUndefined()) return fallback;
  if (!value.IsBoolean()) wrong(key, "a boolean", value);
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
  if (!value.IsString()) wrong(what, "a string", value);
  return value.As<Napi::String>().Utf8Value();
}

Napi::Int32Array to_int32_array(Napi::Env env, const int32_t* data, size_t size) {
  Napi::Int32Array array = Napi::Int32Array::New(env, size);
  std::copy_n(data, size, array.Data());
  return array;
}

}  // namespace agentinfer
