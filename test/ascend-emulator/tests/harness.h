#pragma once
// The tests' harness: TEST and CHECK, the emulated libraries through dlopen as any caller would reach them,
// and short ways to make device buffers, tensors and operator calls. Every test file is one executable;
// --filter NAME runs some of it.

#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "abi/acl_graph.h"
#include "abi/acl_meta.h"
#include "abi/acl_rt.h"
#include "abi/aclnn.h"
#include "abi/aclnn_attention.h"
#include "abi/codes.h"
#include "abi/hccl.h"
#include "control.h"

namespace harness {

struct Case {
  const char* name;
  void (*run)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int& failures() {
  static int n = 0;
  return n;
}
struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};
inline void fail(const char* file, int line, const std::string& what) {
  ++failures();
  std::fprintf(stderr, "  %s:%d: %s\n", file, line, what.c_str());
}

// The four handles, in the order a loader opens them.
inline std::vector<void*>& handles() {
  static std::vector<void*> all;
  return all;
}
inline void open_libraries(const std::string& root) {
  for (const char* name : {"libascendcl.so", "libnnopbase.so", "libopapi.so", "libhccl.so"}) {
    void* handle = dlopen((root + "/lib64/" + name).c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!handle) {
      std::fprintf(stderr, "%s\n", dlerror());
      std::exit(2);
    }
    handles().push_back(handle);
  }
}
inline void* symbol(const char* name) {
  for (void* handle : handles())
    if (void* found = dlsym(handle, name)) return found;
  return nullptr;
}
template <class F>
F function(const char* name) {
  void* found = symbol(name);
  if (!found) {
    std::fprintf(stderr, "no symbol %s\n", name);
    std::exit(2);
  }
  return reinterpret_cast<F>(found);
}

}  // namespace harness

// A function of the libraries, found by name once.
#define ACL(fn)                                                      \
  ([]() -> decltype(&fn) {                                           \
    static const auto found = harness::function<decltype(&fn)>(#fn); \
    return found;                                                    \
  }())

#define HARNESS_JOIN2(a, b) a##b
#define HARNESS_JOIN(a, b) HARNESS_JOIN2(a, b)
#define TEST(name)                                                                                       \
  static void HARNESS_JOIN(test_, __LINE__)();                                                           \
  static const harness::Register HARNESS_JOIN(register_, __LINE__)(name, HARNESS_JOIN(test_, __LINE__)); \
  static void HARNESS_JOIN(test_, __LINE__)()
#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) harness::fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(a, b)                                                                                  \
  do {                                                                                                  \
    const auto check_a = static_cast<long long>(a);                                                     \
    const auto check_b = static_cast<long long>(b);                                                     \
    if (!(check_a == check_b))                                                                          \
      harness::fail(                                                                                    \
          __FILE__, __LINE__,                                                                           \
          std::string(#a " == " #b ": ") + std::to_string(check_a) + " != " + std::to_string(check_b)); \
  } while (false)
#define OK(call) CHECK_EQ(static_cast<int>(call), 0)
// The call is refused with the code, and a violation that names the function is recorded.
#define REFUSED(fn, code, ...)                                                       \
  do {                                                                               \
    ACL(emu_clear_violations)();                                                     \
    CHECK_EQ(static_cast<int>(ACL(fn)(__VA_ARGS__)), static_cast<int>(code));        \
    if (violation(0).find(#fn "(") != 0)                                             \
      harness::fail(__FILE__, __LINE__, "no violation of " #fn ": " + violation(0)); \
    ACL(emu_clear_violations)();                                                     \
  } while (false)

inline std::string violation(uint64_t index) {
  std::string text(4096, 0);
  const size_t n = ACL(emu_violation)(index, text.data(), text.size());
  text.resize(std::min(n, text.size() - 1));
  return text;
}
inline void expect_clean(const char* file, int line) {
  if (ACL(emu_violation_count)()) harness::fail(file, line, "violation: " + violation(0));
  ACL(emu_clear_violations)();
}
#define CLEAN() expect_clean(__FILE__, __LINE__)

// A device bound to the thread, and a stream on it.
class Bound {
 public:
  explicit Bound(int device = 0) : device_(device) {
    ACL(aclInit)(nullptr);  // 100002 when a test before did it
    OK(ACL(aclrtSetDevice)(device));
    OK(ACL(aclrtSetDeviceSatMode)(ACL_RT_OVERFLOW_MODE_INFNAN));
    OK(ACL(aclrtCreateStream)(&stream));
    ACL(emu_clear_violations)();
  }
  ~Bound() {
    ACL(aclrtDestroyStream)(stream);
    ACL(aclrtResetDevice)(device_);
  }
  void sync() { OK(ACL(aclrtSynchronizeStream)(stream)); }
  aclrtStream stream = nullptr;

 private:
  int device_;
};

// Device memory that frees itself.
class Buffer {
 public:
  explicit Buffer(size_t size) : bytes(size) {
    if (size) OK(ACL(aclrtMalloc)(&at, size, ACL_MEM_MALLOC_HUGE_FIRST));
  }
  template <class T>
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size() * sizeof(T)) {
    OK(ACL(aclrtMemcpy)(at, bytes, values.data(), bytes, ACL_MEMCPY_HOST_TO_DEVICE));
  }
  Buffer(Buffer&& other) noexcept : at(other.at), bytes(other.bytes) { other.at = nullptr; }
  Buffer(const Buffer&) = delete;
  ~Buffer() {
    if (at) ACL(aclrtFree)(at);
  }
  template <class T>
  std::vector<T> read() const {
    std::vector<T> values(bytes / sizeof(T));
    OK(ACL(aclrtMemcpy)(values.data(), bytes, at, bytes, ACL_MEMCPY_DEVICE_TO_HOST));
    return values;
  }
  void* at = nullptr;
  size_t bytes = 0;
};

using Dims = std::vector<int64_t>;
inline aclTensor* make_tensor(const Dims& dims, aclDataType dtype, void* at, const Dims& strides = {},
                              int64_t offset = 0, aclFormat format = ACL_FORMAT_ND,
                              const Dims& storage = {}) {
  const Dims& held = storage.empty() ? dims : storage;
  return ACL(aclCreateTensor)(dims.data(), dims.size(), dtype, strides.empty() ? nullptr : strides.data(),
                              offset, format, held.data(), held.size(), at);
}

// A tensor (and, when made from values, its memory) that destroys itself.
class Tensor {
 public:
  Tensor(const Dims& shape, aclDataType type, void* at)
      : dims(shape), dtype(type), buffer(0), t(make_tensor(shape, type, at)) {}
  template <class T>
  Tensor(const Dims& shape, aclDataType type, const std::vector<T>& values)
      : dims(shape), dtype(type), buffer(values), t(make_tensor(shape, type, buffer.at)) {}
  static Tensor empty(const Dims& shape, aclDataType type, size_t element) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    return Tensor(shape, type, Buffer(static_cast<size_t>(n) * element));
  }
  Tensor(const Dims& shape, aclDataType type, Buffer memory)
      : dims(shape), dtype(type), buffer(std::move(memory)), t(make_tensor(shape, type, buffer.at)) {}
  Tensor(Tensor&& other) noexcept
      : dims(other.dims), dtype(other.dtype), buffer(std::move(other.buffer)), t(other.t) {
    other.t = nullptr;
  }
  Tensor(const Tensor&) = delete;
  ~Tensor() {
    if (t) ACL(aclDestroyTensor)(t);
  }
  operator aclTensor*() const { return t; }
  Dims dims;
  aclDataType dtype;
  Buffer buffer;
  aclTensor* t;
};

inline aclScalar* scalar(float value) {
  return ACL(aclCreateScalar)(&value, ACL_FLOAT);
}
inline aclIntArray* ints(const Dims& values) {
  return ACL(aclCreateIntArray)(values.data(), values.size());
}

// Both phases of an operator, waited for; the status of the first that fails.
template <class Phase1, class Phase2, class... A>
int run_operator(Phase1 phase1, Phase2 phase2, aclrtStream stream, A&&... arguments) {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  if (const int status = phase1(arguments..., &size, &executor)) return status;
  Buffer workspace(size);
  if (const int status = phase2(workspace.at, size, executor, stream)) return status;
  return ACL(aclrtSynchronizeStream)(stream);
}
#define RUN(op, stream, ...) run_operator(ACL(op##GetWorkspaceSize), ACL(op), stream, __VA_ARGS__)

inline uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float from_bf16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

#define HARNESS_MAIN                                                                    \
  int main(int argc, char** argv) {                                                     \
    harness::open_libraries(EMULATOR_ROOT "/toolkit");                                  \
    const char* filter = argc == 3 && !std::strcmp(argv[1], "--filter") ? argv[2] : ""; \
    int ran = 0, failed = 0;                                                            \
    for (const harness::Case& test : harness::cases()) {                                \
      if (!std::strstr(test.name, filter)) continue;                                    \
      const int before = harness::failures();                                           \
      test.run();                                                                       \
      const bool ok = harness::failures() == before;                                    \
      std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name);                          \
      std::fflush(stdout);                                                              \
      ++ran;                                                                            \
      failed += !ok;                                                                    \
    }                                                                                   \
    std::printf("%d tests, %d failed\n", ran, failed);                                  \
    return failed != 0 || ran == 0;                                                     \
  }
