#pragma once
// Between JavaScript values and C++ ones. Reading checks what would be unsafe in memory (types, lengths,
// ranges) and throws Error; everything else was checked in TypeScript.

#include <napi.h>

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

// An Error as a JavaScript one with `code`.
Napi::Error to_js_error(Napi::Env env, std::string_view code, const std::string& message);
Napi::Error to_js_error(Napi::Env env, const Error& error);
// What is being thrown right now as a JavaScript error. Call in a catch block.
Napi::Error current_js_error(Napi::Env env);

// Runs the body of a JavaScript-facing function: core errors become JavaScript errors with a code.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw current_js_error(env);
  }
}

// Fields of an options object. An absent (undefined) field gives the fallback; kInvalidArgument, with the
// key, what was expected and what came, for any other that is not of the type.
double number_field(const Napi::Object& object, const char* key, double fallback);
int64_t integer_field(const Napi::Object& object, const char* key, int64_t fallback);  // a safe integer
int32_t int32_field(const Napi::Object& object, const char* key, int32_t fallback);
size_t size_field(const Napi::Object& object, const char* key, size_t fallback);  // a safe integer >= 0
std::string string_field(const Napi::Object& object, const char* key, const std::string& fallback);
bool bool_field(const Napi::Object& object, const char* key, bool fallback);
std::vector<int32_t> int32_array_field(const Napi::Object& object,
                                       const char* key);  // Int32Array; empty when absent
std::vector<double> float64_array_field(const Napi::Object& object, const char* key);

std::vector<int32_t> int32_array(const Napi::Value& value, const char* what);
std::string utf8(const Napi::Value& value, const char* what);

// A copy (JavaScript owns the result; some hosts forbid external memory).
Napi::Int32Array to_int32_array(Napi::Env env, const int32_t* data, size_t size);

}  // namespace agentinfer
