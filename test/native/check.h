#pragma once
// The smallest test harness that serves: TEST(name) { ... CHECK(...) ... } and a main. One executable per
// file.
//   ./some_test [--filter substring]     runs the tests whose name contains the substring
// A failed CHECK records the failure and goes on; an exception ends its test as a failure. Exit status 1 on
// any failure.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tensor/check.h"

namespace check {

struct Case {
  const char* name;
  std::function<void()> run;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* name, std::function<void()> run) { cases().push_back({name, std::move(run)}); }
};

inline void report(const char* file, int line, const std::string& what) {
  ++failures();
  if (failures() <= 50) std::fprintf(stderr, "  %s:%d: %s\n", file, line, what.c_str());
}

template <typename A, typename B>
void equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream out;
  out << text;
  if constexpr (requires { out << a << b; }) out << ": " << a << " != " << b;
  report(file, line, out.str());
}

template <typename F>
void throws(F&& body, agentinfer::ErrorCode code, const char* needle, const char* text, const char* file,
            int line) {
  try {
    body();
  } catch (const agentinfer::Error& error) {
    if (error.code() != code)
      report(
          file, line,
          std::string(text) + ": threw " + std::string(error_code_name(error.code())) + ": " + error.what());
    else if (!std::strstr(error.what(), needle))
      report(file, line, std::string(text) + ": message lacks \"" + needle + "\": " + error.what());
    return;
  }
  report(file, line, std::string(text) + ": did not throw");
}

inline int run_all(int argc, char** argv) {
  const char* filter = argc == 3 && std::strcmp(argv[1], "--filter") == 0 ? argv[2] : "";
  int ran = 0, failed = 0;
  for (const Case& test : cases()) {
    if (!std::strstr(test.name, filter)) continue;
    const int before = failures();
    try {
      test.run();
    } catch (const std::exception& error) {
      report(test.name, 0, std::string("threw: ") + error.what());
    }
    ++ran;
    failed += failures() != before;
    std::printf("%s %s\n", failures() == before ? "ok  " : "FAIL", test.name);
  }
  std::printf("%d tests, %d failed\n", ran, failed);
  return failed != 0 || ran == 0;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(name)                                                                                 \
  static void CHECK_JOIN(test_, __LINE__)();                                                       \
  static const check::Register CHECK_JOIN(register_, __LINE__)(name, CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) check::report(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(a, b) check::equal((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance)                                                                 \
  do {                                                                                              \
    const double check_a = (a), check_b = (b);                                                      \
    if (!(std::fabs(check_a - check_b) <= (tolerance)))                                             \
      check::report(__FILE__, __LINE__,                                                             \
                    #a " ~ " #b ": " + std::to_string(check_a) + " != " + std::to_string(check_b)); \
  } while (false)
// `needle` must occur in the message: an error without its values is a failure too.
#define CHECK_THROWS(expression, code, needle) \
  check::throws([&] { (void)(expression); }, code, needle, #expression, __FILE__, __LINE__)
#define CHECK_MAIN                     \
  int main(int argc, char** argv) {    \
    return check::run_all(argc, argv); \
  }

#if defined(__SANITIZE_THREAD__)
// An exception that crosses threads in a future is counted in libstdc++, which is not instrumented: its last
// release would seem to race with whoever looked at it before.
extern "C" [[gnu::used, gnu::visibility("default")]] inline const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}
#endif
