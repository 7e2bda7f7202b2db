#pragma once
// What every ABI function does before and after its own work: counting, injected faults, stub mode, fork
// check, argument text, and the mapping of a broken rule to a code, a recorded violation and the thread's
// error text.

#include <cstdint>
#include <ostream>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>

#include "abi/codes.h"
#include "abi/types.h"

namespace emu {

// Ends an ABI call with `code`. A violation is a rule the caller broke; a condition is a documented run-time
// outcome (out of memory, timeout, injected fault) and is not recorded.
struct Refusal {
  int code;
  std::string why;
  bool violation;
};

// A task failed on the device: the stream and its context carry the code from then on.
struct TaskFault {
  int code;
  std::string why;
};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void refuse(int code, const Parts&... parts) {
  throw Refusal{code, text(parts...), true};
}

template <class... Parts>
[[noreturn]] void decline(int code, const Parts&... parts) {
  throw Refusal{code, text(parts...), false};
}

template <class... Parts>
void require(bool holds, int code, const Parts&... parts) {
  if (!holds) refuse(code, parts...);
}

// Records a violation that does not end the current call (or, from a worker, of the task named by `where`).
void report(const std::string& why);
void report_at(const std::string& where, const std::string& why);
bool rule_on(const char* rule);

void show(std::ostream& out, const aclTensor* tensor);
void show(std::ostream& out, const aclTensorList* list);
void show(std::ostream& out, const aclIntArray* array);
void show(std::ostream& out, const aclScalar* scalar);
void show(std::ostream& out, const char* string);

template <class T>
void show_any(std::ostream& out, const T& value) {
  if constexpr (std::is_pointer_v<T>) {
    using Bare = std::remove_cv_t<std::remove_pointer_t<T>>;
    if constexpr (std::is_same_v<Bare, aclTensor> || std::is_same_v<Bare, aclTensorList> ||
                  std::is_same_v<Bare, aclIntArray> || std::is_same_v<Bare, aclScalar> ||
                  std::is_same_v<Bare, char>) {
      show(out, static_cast<const Bare*>(value));
    } else {
      out << reinterpret_cast<const void*>(value);
    }
  } else if constexpr (std::is_enum_v<T>) {
    out << static_cast<int>(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t>) {
    out << static_cast<int>(value);
  } else {
    out << value;
  }
}

// The ABI call a thread is in. Arguments are turned into text only when something is to be said about them.
class Call {
 public:
  explicit Call(const char* name);
  virtual ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual std::string arguments() const = 0;
  const char* name() const { return name_; }
  int enter();  // 0: go on; else the answer of the call
  int failed(const Refusal& refusal);
  static Call* current();

 private:
  const char* name_;
  Call* outer_;
};

template <class... A>
class CallWith final : public Call {
 public:
  CallWith(const char* name, const std::tuple<A...>& args) : Call(name), args_(args) {}
  std::string arguments() const override {
    std::ostringstream out;
    bool first = true;
    std::apply(
        [&](const auto&... arg) { ((out << (first ? "" : ", "), first = false, show_any(out, arg)), ...); },
        args_);
    return out.str();
  }

 private:
  const std::tuple<A...>& args_;
};

// Runs the body of an ABI function that returns a status; 0 when the body returns.
template <class... A, class Body>
int api(const char* name, const std::tuple<A...>& args, Body&& body) {
  CallWith<A...> call(name, args);
  if (const int answer = call.enter()) return answer;
  try {
    body();
    return 0;
  } catch (const Refusal& refusal) {
    return call.failed(refusal);
  }
}

// The same for a function that returns a handle; `none` on failure.
template <class T, class... A, class Body>
T api_handle(const char* name, const std::tuple<A...>& args, T none, Body&& body) {
  CallWith<A...> call(name, args);
  if (call.enter()) return none;
  try {
    return body();
  } catch (const Refusal& refusal) {
    call.failed(refusal);
    return none;
  }
}

template <class... A>
std::tuple<A...> args(A... values) {
  return {values...};
}

// The thread's pending error text (aclGetRecentErrMsg).
void add_error_text(int code, const std::string& where, const std::string& why);
const char* take_error_text();
// The last asynchronous error this thread was told (aclrtGetLastError).
int& last_async_error();

// Initialised (aclInit or aclnnInit)? Most calls need it; these wrappers say so in one place.
void require_initialised();

}  // namespace emu
