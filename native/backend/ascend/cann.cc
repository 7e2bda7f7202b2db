#include "backend/ascend/cann.h"

#include <dlfcn.h>
#include <signal.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>

#include "backend/ascend/status.h"

namespace agentinfer {
namespace {

using acl::Need;

// --- opening libraries

// The trace library of CANN replaces these as it is loaded; Node's handling of SIGINT and SIGTERM would be
// bypassed.
class SignalGuard {
 public:
  SignalGuard() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], nullptr, &saved_[i]);
  }
  ~SignalGuard() {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &saved_[i], nullptr);
  }

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGQUIT, SIGILL,  SIGTRAP, SIGABRT,
                                          SIGBUS, SIGFPE,  SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
  std::array<struct sigaction, kSignals.size()> saved_;
};

// Folders that may hold the libraries, in order, after the bare name.
std::vector<std::string> library_folders() {
  std::vector<std::string> folders;
  for (const char* variable : {"ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"})
    if (const char* root = std::getenv(variable); root != nullptr && *root != 0)
      folders.push_back(std::string(root) + "/lib64");
  folders.push_back("/usr/local/Ascend/cann/lib64");
  folders.push_back("/usr/local/Ascend/ascend-toolkit/latest/lib64");
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0) {
    folders.push_back(std::string(home) + "/Ascend/cann/lib64");
    folders.push_back(std::string(home) + "/Ascend/ascend-toolkit/latest/lib64");
  }
  return folders;
}

struct Opened {
  void* handle = nullptr;
  std::string problem;  // what the linker said of the most telling attempt
};

// A library that exists but does not load says more than one that is nowhere.
Opened open_library(const char* name, const std::string& beside) {
  Opened opened;
  const auto attempt = [&](const std::string& path) {
    dlerror();
    opened.handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (opened.handle != nullptr) return true;
    const char* said = dlerror();
    const std::string text = said == nullptr ? "not found" : said;
    const bool nowhere = text.find(std::string(name) + ": cannot open") != std::string::npos;
    if (opened.problem.empty() || !nowhere) opened.problem = text;
    return false;
  };
  if (!beside.empty() && attempt(beside + "/" + name)) return opened;
  if (attempt(name)) return opened;
  for (const std::string& folder : library_folders())
    if (attempt(folder + "/" + name)) return opened;
  return opened;
}

[[noreturn]] void refuse_missing(const char* name, const std::string& problem) {
  if (problem.find("libascend_hal") != std::string::npos)
    fail(ErrorCode::kDevice, "CANN is installed but the Ascend driver is not: ", problem,
         ". Install the driver (or mount /usr/local/Ascend/driver into the container) and source set_env.sh");
  const bool nowhere = problem.find("cannot open shared object file") != std::string::npos &&
                       problem.find(std::string(name) + ": cannot open") != std::string::npos;
  if (nowhere || problem.empty() || problem == "not found")
    fail(ErrorCode::kDevice, "no NPU here: ", name,
         " was found neither through LD_LIBRARY_PATH nor under ASCEND_HOME_PATH, ",
         "/usr/local/Ascend/cann or /usr/local/Ascend/ascend-toolkit/latest. Install CANN ", kMinimumCann,
         " or newer and source its set_env.sh before starting Node");
  fail(ErrorCode::kDevice, name, " does not load: ", problem,
       ". Source CANN's set_env.sh before starting Node (services do not inherit it)");
}

// --- versions

std::string first_match(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line))
    if (line.rfind(key + "=", 0) == 0) return line.substr(key.size() + 1);
  return {};
}

std::string folder_of(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return {};
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

// The package's file tells exactly; the functions are asked where it is not readable.
std::string runtime_version(const acl::RuntimeFunctions& rt, const std::string& folder) {
  for (const char* file : {"/../share/info/runtime/version.info", "/../../share/info/runtime/version.info",
                           "/../runtime/version.info", "/../../runtime/version.info"})
    if (const std::string found = first_match(folder + file, "Version"); !found.empty()) return found;
  char package[] = "runtime", text[256] = {};
  if (rt.aclsysGetVersionStr != nullptr && rt.aclsysGetVersionStr(package, text) == 0 && text[0] != 0)
    return text;
  acl::aclCANNPackageVersion info{};
  if (rt.aclsysGetCANNVersion != nullptr && rt.aclsysGetCANNVersion(acl::kPackageRuntime, &info) == 0 &&
      info.version[0] != 0)
    return info.version;
  return "unknown";
}

std::string driver_version() {
  return first_match("/usr/local/Ascend/driver/version.info", "Version");
}

// --- symbols

class Symbols {
 public:
  explicit Symbols(std::vector<void*> handles) : handles_(std::move(handles)) {}

  template <typename Function>
  void resolve(Function& slot, const char* name, Need need) {
    slot = reinterpret_cast<Function>(find(name));
    if (slot == nullptr) (need == Need::kRequired ? missing : absent).push_back(name);
  }
  template <typename... P>
  void resolve(acl::Operator<P...>& op, Need need) {
    const std::string phase1 = std::string(op.name) + "GetWorkspaceSize";
    op.phase1 = reinterpret_cast<decltype(op.phase1)>(find(phase1.c_str()));
    op.phase2 = reinterpret_cast<decltype(op.phase2)>(find(op.name));
    if (!op.present()) (need == Need::kRequired ? missing : absent).push_back(op.name);
  }

  std::vector<std::string> missing, absent;

 private:
  void* find(const char* name) const {
    for (void* handle : handles_)
      if (void* found = dlsym(handle, name); found != nullptr) return found;
    return nullptr;
  }
  std::vector<void*> handles_;
};

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// --- loading

void resolve_runtime(Symbols& symbols, acl::RuntimeFunctions& rt) {
#define AGENTINFER_R(result, name, ...) symbols.resolve(rt.name, #name, Need::kRequired);
#define AGENTINFER_O(result, name, ...) symbols.resolve(rt.name, #name, Need::kOptional);
  AGENTINFER_ACL_RUNTIME(AGENTINFER_R, AGENTINFER_O)
  AGENTINFER_ACL_META(AGENTINFER_R, AGENTINFER_O)
#undef AGENTINFER_R
#undef AGENTINFER_O
}

void resolve_operators(Symbols& symbols, acl::OperatorFunctions& op) {
#define AGENTINFER_X(field, symbol, need, ...) symbols.resolve(op.field, Need::need);
  AGENTINFER_OPERATORS(AGENTINFER_X)
#undef AGENTINFER_X
}

// What is optional one by one may still be needed in one of several forms.
void require_alternatives(const Cann& made) {
  const acl::OperatorFunctions& op = made.op;
  const auto need = [&](bool present, const char* what) {
    if (!present)
      fail(ErrorCode::kDevice, "CANN ", made.version, " in ", made.folder, " lacks ", what, "; install CANN ",
           kMinimumCann, " or newer with its operator packages");
  };
  need(op.attention_v3.present() || op.attention_v4.present(), "aclnnFusedInferAttentionScoreV3 and V4");
  need(op.rotary.present() || op.rotary_single.present(),
       "aclnnApplyRotaryPosEmb and aclnnRotaryPositionEmbedding");
  need(op.scatter_kv.present() || op.scatter_nd.present(), "aclnnScatterPaKvCache and aclnnScatterNdUpdate");
  need(op.swiglu.present() || (op.silu.present() && op.mul.present()), "aclnnSwiGlu and aclnnSilu");
}

void initialise(const Cann& made) {
  const int status = made.rt.aclInit(nullptr);
  if (status == acl::kRepeatInitialize) return;  // another component of this process did
  if (status == acl::kStubMode)
    fail(ErrorCode::kDevice, "aclInit: ", status_meaning(status), " (loaded from ", made.folder, ")");
  check_acl(made.rt, status, "aclInit");
}

Cann load() {
  Cann made;
  std::vector<void*> handles;
  Opened base = open_library("libascendcl.so", "");
  if (base.handle == nullptr) {
    const std::string problem = base.problem;
    base = open_library("libacl_rt.so", "");
    if (base.handle == nullptr) refuse_missing("libascendcl.so", problem);
  }
  handles.push_back(base.handle);
  if (void* init = dlsym(base.handle, "aclInit"); init != nullptr) made.folder = folder_of(init);
  if (const Opened more = open_library("libacl_rt.so", made.folder); more.handle != nullptr)
    handles.push_back(more.handle);
  const Opened meta = open_library("libnnopbase.so", made.folder);
  if (meta.handle == nullptr) refuse_missing("libnnopbase.so", meta.problem);
  handles.push_back(meta.handle);
  const size_t before = handles.size();
  std::string operators_problem;
  for (const char* name : {"libopapi.so", "libopapi_nn.so", "libopapi_math.so", "libopapi_transformer.so",
                           "libopapi_legacy.so"}) {
    const Opened more = open_library(name, made.folder);
    if (more.handle != nullptr)
      handles.push_back(more.handle);
    else if (operators_problem.empty())
      operators_problem = more.problem;
  }
  if (handles.size() == before) refuse_missing("libopapi.so", operators_problem);

  Symbols symbols(handles);
  resolve_runtime(symbols, made.rt);
  resolve_operators(symbols, made.op);
  made.version = made.rt.aclInit == nullptr ? "unknown" : runtime_version(made.rt, made.folder);
  if (made.version != "unknown" && compare_versions(made.version, kMinimumCann) < 0)
    fail(ErrorCode::kDevice, "CANN ", made.version, " in ", made.folder, " is too old: this package needs ",
         kMinimumCann, " or newer (earlier releases have no paged attention over packed tokens)");
  if (!symbols.missing.empty())
    fail(ErrorCode::kDevice, "CANN ", made.version, " in ", made.folder, " lacks ", joined(symbols.missing));
  require_alternatives(made);
  made.absent = std::move(symbols.absent);
  initialise(made);
  return made;
}

struct Remembered {
  std::mutex mutex;
  std::unique_ptr<Cann> made;  // guarded by mutex until set, then constant
  std::unique_ptr<acl::HcclFunctions> hccl;
  std::optional<Error> error, hccl_error;
};

// Leaked on purpose: CANN's threads outlive static destruction.
Remembered& remembered() {
  static auto* state = new Remembered;
  return *state;
}

}  // namespace

const Cann& cann() {
  Remembered& state = remembered();
  const std::lock_guard lock(state.mutex);
  if (state.error) throw *state.error;
  if (state.made == nullptr) {
    const SignalGuard signals;
    try {
      state.made = std::make_unique<Cann>(load());
    } catch (const Error& error) {
      state.error = Error(error.code(), error.what());
      throw;
    }
  }
  return *state.made;
}

const acl::HcclFunctions& hccl() {
  const Cann& base = cann();
  Remembered& state = remembered();
  const std::lock_guard lock(state.mutex);
  if (state.hccl_error) throw *state.hccl_error;
  if (state.hccl != nullptr) return *state.hccl;
  const SignalGuard signals;
  try {
    std::vector<void*> handles;
    std::string problem;
    for (const char* name : {"libhccl.so", "libhcomm.so"}) {
      const Opened opened = open_library(name, base.folder);
      if (opened.handle != nullptr)
        handles.push_back(opened.handle);
      else if (problem.empty())
        problem = opened.problem;
    }
    if (handles.empty())
      fail(ErrorCode::kDevice, "several devices need libhccl.so, which does not load: ", problem);
    Symbols symbols(handles);
    auto made = std::make_unique<acl::HcclFunctions>();
#define AGENTINFER_R(result, name, ...) symbols.resolve(made->name, #name, Need::kRequired);
    AGENTINFER_HCCL(AGENTINFER_R, AGENTINFER_R)
#undef AGENTINFER_R
    if (!symbols.missing.empty())
      fail(ErrorCode::kDevice, "libhccl.so in ", base.folder, " lacks ", joined(symbols.missing));
    state.hccl = std::move(made);
  } catch (const Error& error) {
    state.hccl_error = Error(error.code(), error.what());
    throw;
  }
  return *state.hccl;
}

int device_count(const Cann& cann) {
  uint32_t count = 0;
  check_acl(cann.rt, cann.rt.aclrtGetDeviceCount(&count), "aclrtGetDeviceCount");
  return static_cast<int>(count);
}

size_t free_device_memory(const Cann& cann, int device) {
  check_acl(cann.rt, cann.rt.aclrtSetDevice(device), "aclrtSetDevice", "npu:" + std::to_string(device));
  size_t free = 0, total = 0;
  const int status = cann.rt.aclrtGetMemInfo(acl::kHbm, &free, &total);
  cann.rt.aclrtResetDevice(device);
  if (status != 0) recent_message(cann.rt);
  return status == 0 ? free : 0;
}

CannReport examine_cann() {
  CannReport report;
  report.driver = driver_version();
  try {
    const Cann& made = cann();
    report.loaded = true;
    report.folder = made.folder;
    report.version = made.version;
    report.absent = made.absent;
    uint32_t count = 0;
    check_acl(made.rt, made.rt.aclrtGetDeviceCount(&count), "aclrtGetDeviceCount");
    report.devices = static_cast<int>(count);
    if (count == 0)
      fail(ErrorCode::kDevice,
           "CANN works but shows no device: check ASCEND_RT_VISIBLE_DEVICES, /dev/davinci* and npu-smi info");
    if (const char* soc = made.rt.aclrtGetSocName(); soc != nullptr) report.soc = soc;
    for (int id = 0; id < report.devices; ++id) {
      CannReport::Device device{.id = id, .problem = {}};
      try {
        check_acl(made.rt, made.rt.aclrtSetDevice(id), "aclrtSetDevice");
        const int status = made.rt.aclrtGetMemInfo(acl::kHbm, &device.free, &device.total);
        made.rt.aclrtResetDevice(id);
        check_acl(made.rt, status, "aclrtGetMemInfo");
      } catch (const Error& error) {
        device.problem = error.what();
      }
      report.list.push_back(device);
    }
  } catch (const Error& error) {
    report.problem = error.what();
  }
  return report;
}

int compare_versions(const std::string& a, const std::string& b) {
  // Parts: numbers, and before the release whatever starts with a letter (RC1, alpha002, beta.1).
  const auto parts = [](const std::string& text) {
    std::vector<long> list;
    for (size_t at = 0; at < text.size();) {
      if (std::isdigit(static_cast<unsigned char>(text[at]))) {
        char* end = nullptr;
        list.push_back(std::strtol(text.c_str() + at, &end, 10));
        at = static_cast<size_t>(end - text.c_str());
      } else if (std::isalpha(static_cast<unsigned char>(text[at]))) {
        list.push_back(-100 + (std::tolower(text[at]) - 'a'));  // alpha < beta < rc < nothing < .1
        while (at < text.size() && std::isalpha(static_cast<unsigned char>(text[at]))) ++at;
      } else {
        ++at;
      }
    }
    return list;
  };
  std::vector<long> left = parts(a), right = parts(b);
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    const long x = i < left.size() ? left[i] : 0, y = i < right.size() ? right[i] : 0;
    if (x != y) return x < y ? -1 : 1;
  }
  return 0;
}

}  // namespace agentinfer
