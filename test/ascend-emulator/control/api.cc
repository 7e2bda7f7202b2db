#include "control/api.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <vector>

#include "control.h"
#include "control/config.h"
#include "control/counters.h"
#include "control/faults.h"
#include "control/lifecycle.h"

namespace emu {
namespace {

thread_local Call* t_call = nullptr;
thread_local std::string t_text, t_returned;
thread_local int t_last_async = 0;

constexpr size_t kKeptViolations = 200, kKeptText = 16384;
constexpr int kForked = 507899;

struct Violations {
  std::mutex mutex;
  std::vector<std::string> kept;  // guarded by mutex, as all below
  uint64_t total = 0;
  std::set<std::string> off;
};

Violations& violations() {
  static auto* instance = [] {
    auto* v = new Violations;
    const std::string relaxed = setting("ASCEND_EMULATOR_RELAX", std::string());
    for (size_t at = 0; at < relaxed.size();) {
      const size_t comma = std::min(relaxed.find(',', at), relaxed.size());
      v->off.insert(relaxed.substr(at, comma - at));
      at = comma + 1;
    }
    return v;
  }();
  return *instance;
}

std::atomic<bool> g_forked{false};
__attribute__((constructor)) void watch_fork() {
  pthread_atfork(nullptr, nullptr, [] { g_forked = runtime_started(); });
}

const char* prefix_of(int code) {
  if (code == ACL_ERROR_RT_MEMORY_ALLOCATION || code == ACL_ERROR_RT_DEVICE_OOM) return "EL0004";
  if (code >= 207000 && code < 208000) return "EL0009";
  if (code >= 100000 && code < 108000) return "EE1001";
  if (code == ACL_ERROR_RT_FFTS_PLUS_TIMEOUT) return "EI0002";
  if (code > 0 && code < 2000) return "EI9999";
  if (code >= 161000 && code < 162000) return "EZ1001";
  if (code >= 561000) return "EZ9999";
  return "EE9999";
}

std::string stamp() {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return std::to_string(now.count());
}

// The rules that can be switched off, with what they check.
constexpr const char* kRules[] = {"head_dim", "block_size", "warmup", "pageable",
                                  "sat_mode", "tail",       "connect"};

}  // namespace

Call::Call(const char* name) : name_(name), outer_(t_call) {
  t_call = this;
}
Call::~Call() {
  t_call = outer_;
}
Call* Call::current() {
  return t_call;
}

int Call::enter() {
  count_call(name_);
  if (config().stub) return ACL_ERROR_COMPILING_STUB_MODE;
  if (g_forked) {
    report("called in a child that was forked after the runtime had started");
    return kForked;
  }
  if (const int answer = injected_answer(name_)) {
    add_error_text(answer, name_, "injected fault");
    return answer;
  }
  return 0;
}

int Call::failed(const Refusal& refusal) {
  add_error_text(refusal.code, text(name_, "(", arguments(), ")"), refusal.why);
  if (refusal.violation) report(text(refusal.why, " [returns ", refusal.code, "]"));
  return refusal.code;
}

void report(const std::string& why) {
  report_at(t_call ? text(t_call->name(), "(", t_call->arguments(), ")") : std::string("a worker thread"),
            why);
}

void report_at(const std::string& where, const std::string& why) {
  const std::string line = where + ": " + why;
  Violations& v = violations();
  {
    const std::lock_guard lock(v.mutex);
    ++v.total;
    if (v.kept.size() < kKeptViolations) v.kept.push_back(line);
  }
  if (config().abort_on_violation) {
    std::fprintf(stderr, "ascend-emulator: %s\n", line.c_str());
    std::abort();
  }
}

bool rule_on(const char* rule) {
  Violations& v = violations();
  const std::lock_guard lock(v.mutex);
  return !v.off.contains(rule);
}

void add_error_text(int code, const std::string& where, const std::string& why) {
  t_text += text(prefix_of(code), ": [PID: ", stamp(), "] ", where, " failed with ", code, ". ", why, "\n");
  if (t_text.size() > kKeptText) t_text.erase(0, t_text.size() - kKeptText);
}

const char* take_error_text() {
  if (t_text.empty()) return nullptr;
  t_returned.swap(t_text);
  t_text.clear();
  return t_returned.c_str();
}

int& last_async_error() {
  return t_last_async;
}

void require_initialised() {
  require(runtime_initialised(), ACL_ERROR_UNINITIALIZE,
          "aclInit was not called (or the runtime is finalised)");
}

std::string violations_json() {
  Violations& v = violations();
  const std::lock_guard lock(v.mutex);
  std::string out = "{\"count\": " + std::to_string(v.total) + ", \"violations\": [";
  for (size_t i = 0; i < v.kept.size(); ++i) {
    out += i ? ", \"" : "\"";
    for (const char c : v.kept[i]) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    out += "\"";
  }
  return out + "]}";
}

void show(std::ostream& out, const char* string) {
  if (string)
    out << '"' << string << '"';
  else
    out << "null";
}

}  // namespace emu

extern "C" {

EMU_API uint64_t emu_violation_count(void) {
  emu::Violations& v = emu::violations();
  const std::lock_guard lock(v.mutex);
  return v.total;
}

EMU_API size_t emu_violation(uint64_t index, char* text, size_t size) {
  emu::Violations& v = emu::violations();
  const std::lock_guard lock(v.mutex);
  if (index >= v.kept.size()) return 0;
  const std::string& line = v.kept[index];
  if (text && size) {
    const size_t n = std::min(size - 1, line.size());
    std::memcpy(text, line.data(), n);
    text[n] = 0;
  }
  return line.size();
}

EMU_API void emu_clear_violations(void) {
  emu::Violations& v = emu::violations();
  const std::lock_guard lock(v.mutex);
  v.kept.clear();
  v.total = 0;
}

EMU_API void emu_abort_on_violation(int on) {
  emu::config().abort_on_violation = on != 0;
}

EMU_API int emu_set_rule(const char* rule, int on) {
  for (const char* known : emu::kRules) {
    if (std::strcmp(known, rule) != 0) continue;
    emu::Violations& v = emu::violations();
    const std::lock_guard lock(v.mutex);
    if (on)
      v.off.erase(rule);
    else
      v.off.insert(rule);
    return 1;
  }
  return 0;
}

}  // extern "C"
