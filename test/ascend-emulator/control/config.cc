#include "control/config.h"

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace emu {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string find_root() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&config), &info) || !info.dli_fname) return ".";
  return folder_of(folder_of(info.dli_fname));
}

std::map<std::string, std::string> read_pairs(const std::string& path) {
  std::map<std::string, std::string> pairs;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos && line[0] != '#')
      pairs[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return pairs;
}

const std::map<std::string, std::string>& file_settings() {
  static const auto* pairs =
      new std::map<std::string, std::string>(read_pairs(find_root() + "/emulator.env"));
  return *pairs;
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

// Ascending ids; reading stops at the first bad one and the rest is dropped silently, as the runtime does.
std::vector<int> visible_devices(int physical) {
  std::vector<int> ids;
  const char* list = std::getenv("ASCEND_RT_VISIBLE_DEVICES");
  if (!list) {
    for (int id = 0; id < physical; ++id) ids.push_back(id);
    return ids;
  }
  for (const std::string& part : split(list)) {
    char* end = nullptr;
    const long id = std::strtol(part.c_str(), &end, 10);
    if (*end || end == part.c_str() || id < 0 || id >= physical) break;
    if (!ids.empty() && id <= ids.back()) break;
    ids.push_back(static_cast<int>(id));
  }
  return ids;
}

std::string toolkit_version(const std::string& root) {
  for (const char* path : {"/share/info/runtime/version.info", "/runtime/version.info"}) {
    const auto pairs = read_pairs(root + path);
    const auto found = pairs.find("Version");
    if (found != pairs.end()) return found->second;
  }
  return "9.1.0";
}

// Seconds in HCCL's variables; the effective connect timeout is 20 s longer.
void read_timeouts(Config& c) {
  c.connect_ms = setting("ASCEND_EMULATOR_CONNECT_MS", (setting("HCCL_CONNECT_TIMEOUT", 120) + 20) * 1000);
  const uint64_t exec = setting("HCCL_EXEC_TIMEOUT", 1836);
  c.exec_ms = setting("ASCEND_EMULATOR_EXEC_MS", exec ? exec * 1000 : kForeverMs);
  c.event_wait_ms = setting("ASCEND_EMULATOR_EVENT_WAIT_MS", 1866000);
  c.task_ms = setting("ASCEND_EMULATOR_TASK_MS", 1091000);
}

Config* make_config() {
  auto* c = new Config;
  c->root = find_root();
  c->version = setting("ASCEND_EMULATOR_VERSION", toolkit_version(c->root));
  c->driver_version = setting("ASCEND_EMULATOR_DRIVER", "25.5.0");
  c->soc = setting("ASCEND_EMULATOR_SOC", "Ascend910B3");
  c->devices = visible_devices(static_cast<int>(setting("ASCEND_EMULATOR_DEVICES", 8)));
  c->hidden = split(setting("ASCEND_EMULATOR_HIDE", ""));
  c->stub = setting("ASCEND_EMULATOR_STUB", 0) != 0;
  c->report_path = setting("ASCEND_EMULATOR_REPORT", "");
  c->socket_path = setting("ASCEND_EMULATOR_SOCKET", "");
  c->hbm_bytes = setting("ASCEND_EMULATOR_HBM_MB", 2048) << 20;
  c->stream_limit = setting("ASCEND_EMULATOR_STREAMS", 1984);
  c->event_limit = setting("ASCEND_EMULATOR_EVENTS", 65536);
  c->task_delay_us = setting("ASCEND_EMULATOR_TASK_DELAY_US", 0);
  c->lazy = setting("ASCEND_EMULATOR_LAZY", 0) != 0;
  c->abort_on_violation = setting("ASCEND_EMULATOR_ABORT", 0) != 0;
  read_timeouts(*c);
  return c;
}

}  // namespace

Config& config() {
  static Config* instance = make_config();
  return *instance;
}

std::string setting(const char* name, const std::string& fallback) {
  if (const char* value = std::getenv(name)) return value;
  const auto found = file_settings().find(name);
  return found == file_settings().end() ? fallback : found->second;
}

uint64_t setting(const char* name, uint64_t fallback) {
  const std::string value = setting(name, std::string());
  return value.empty() ? fallback : std::strtoull(value.c_str(), nullptr, 10);
}

int compare_versions(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  for (int part = 0; part < 4; ++part) {
    const auto next = [](const std::string& s, size_t& at) {
      const bool candidate = s.compare(at, 2, "RC") == 0;
      if (candidate) at += 2;
      long value = candidate ? -1000 : 0;
      while (at < s.size() && s[at] >= '0' && s[at] <= '9') {
        const long base = candidate ? -1000 : 0;
        value = base + (value - base) * 10 + (s[at++] - '0');
      }
      while (at < s.size() && s[at] != '.') ++at;
      if (at < s.size()) ++at;
      return value;
    };
    const long x = next(a, i), y = next(b, j);
    if (x != y) return x < y ? -1 : 1;
  }
  return 0;
}

}  // namespace emu
