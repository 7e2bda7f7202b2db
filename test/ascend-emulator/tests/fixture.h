#pragma once
// Reads fixtures.bin (made by fixtures/make_fixtures.py).

#include <fstream>
#include <map>

#include "harness.h"

struct FixtureTensor {
  aclDataType dtype;
  Dims dims;
  std::vector<char> bytes;

  template <class T>
  std::vector<T> as() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  Tensor upload() const { return Tensor(dims, dtype, bytes); }
};
using Fixture = std::map<std::string, FixtureTensor>;

inline const Fixture& fixture(const std::string& name) {
  static const auto* all = [] {
    auto* cases = new std::map<std::string, Fixture>;
    std::ifstream in(EMULATOR_FIXTURES, std::ios::binary);
    const auto number = [&in] {
      uint32_t v = 0;
      in.read(reinterpret_cast<char*>(&v), 4);
      return v;
    };
    const auto string = [&] {
      std::string s(number(), 0);
      in.read(s.data(), static_cast<std::streamsize>(s.size()));
      return s;
    };
    in.ignore(8);
    for (uint32_t n = number(); n > 0; --n) {
      Fixture& one = (*cases)[string()];
      for (uint32_t tensors = number(); tensors > 0; --tensors) {
        FixtureTensor& t = one[string()];
        t.dtype = static_cast<aclDataType>(number());
        t.dims.resize(number());
        in.read(reinterpret_cast<char*>(t.dims.data()), static_cast<std::streamsize>(t.dims.size() * 8));
        t.bytes.resize(number());
        in.read(t.bytes.data(), static_cast<std::streamsize>(t.bytes.size()));
      }
    }
    return cases;
  }();
  const auto found = all->find(name);
  if (found == all->end()) {
    std::fprintf(stderr, "no fixture %s\n", name.c_str());
    std::exit(2);
  }
  return found->second;
}

inline std::vector<float> floats_of(const Tensor& t) {
  if (t.dtype == ACL_FLOAT) return t.buffer.read<float>();
  std::vector<float> out;
  for (const uint16_t v : t.buffer.read<uint16_t>()) {
    if (t.dtype == ACL_BF16) {
      out.push_back(from_bf16(v));
      continue;
    }
    const int exponent = v >> 10 & 31, mantissa = v & 1023;
    float m = exponent == 31 ? (mantissa ? NAN : INFINITY)
              : exponent     ? std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25)
                             : std::ldexp(static_cast<float>(mantissa), -24);
    out.push_back(v >> 15 ? -m : m);
  }
  return out;
}

// |got - want| <= relative * |want| + absolute, and the same infinities. Half a unit of bf16 is 2^-8 of the
// value.
inline void check_close(const Tensor& got, const FixtureTensor& want, double relative, double absolute,
                        const char* file, int line) {
  const std::vector<float> g = floats_of(got), w = want.as<float>();
  if (g.size() != w.size()) return harness::fail(file, line, "sizes differ");
  for (size_t i = 0; i < g.size(); ++i) {
    const double room = relative * std::fabs(w[i]) + absolute;
    const bool ok = std::isinf(w[i]) ? g[i] == w[i] : std::fabs(static_cast<double>(g[i]) - w[i]) <= room;
    if (!ok)
      return harness::fail(file, line,
                           "element " + std::to_string(i) + ": " + std::to_string(g[i]) + ", expected " +
                               std::to_string(w[i]));
  }
}
#define CLOSE(got, want, relative, absolute) check_close(got, want, relative, absolute, __FILE__, __LINE__)

inline constexpr double kHalfUnit = 1.0 / 256;  // bf16 (8 significant bits), one rounding
inline constexpr double kUnit = 1.0 / 128;      // two roundings, or ties away from zero
inline constexpr double kExact = 0;

inline Tensor like(const FixtureTensor& shape, aclDataType dtype) {
  const size_t size = dtype == ACL_INT8 || dtype == ACL_BOOL      ? 1
                      : dtype == ACL_BF16 || dtype == ACL_FLOAT16 ? 2
                      : dtype == ACL_INT64                        ? 8
                                                                  : 4;
  return Tensor::empty(shape.dims, dtype, size);
}

struct One {
  aclScalar* value = scalar(1);
  ~One() { ACL(aclDestroyScalar)(value); }
  operator aclScalar*() const { return value; }
};
