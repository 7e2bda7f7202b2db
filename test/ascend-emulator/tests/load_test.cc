// The installations a loader may meet: each is opened in a process of its own.

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "harness.h"

namespace {

// Runs `body` in a child that has loaded nothing yet; its exit status counts the failures.
void in_child(const char* what, void (*body)()) {
  const pid_t child = fork();
  if (child == 0) {
    harness::handles().clear();
    harness::failures() = 0;
    body();
    std::fflush(nullptr);
    _exit(harness::failures() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) harness::fail(what, 0, "status " + std::to_string(status));
}

void open_root(const char* name) {
  harness::open_libraries(std::string(EMULATOR_ROOT) + "/" + name);
}
bool has(const char* name) {
  return harness::symbol(name) != nullptr;
}

}  // namespace

TEST("the full toolkit") {
  in_child("full", [] {
    open_root("toolkit");
    CHECK(has("aclrtMalloc") && has("aclCreateTensor") &&
          has("aclnnFusedInferAttentionScoreV3GetMaxWorkspaceSize") && has("HcclAllReduce"));
    CHECK(has("aclmdlRIUpdate") && has("aclrtLaunchHostFunc") && has("emu_counters"));
    OK(ACL(aclInit)(nullptr));
  });
}

TEST("8.1: newer symbols are absent, versions say so, the version file is where 8.x has it") {
  in_child("old", [] {
    open_root("old-8.1");
    for (const char* newer :
         {"aclrtLaunchHostFunc", "aclFinalizeReference", "aclsysGetVersionStr", "aclmdlRIUpdate",
          "aclnnScatterPaKvCache", "aclnnFusedInferAttentionScoreV4GetWorkspaceSize", "aclnnQuantMatmulV5",
          "aclnnApplyTopKTopP"})
      CHECK(!has(newer));
    CHECK(has("aclnnFusedInferAttentionScoreV3") && has("aclnnRotaryPositionEmbedding") &&
          has("aclmdlRICaptureTaskGrpBegin"));
    int32_t major = 0, minor = 0, patch = 0;
    OK(ACL(aclrtGetVersion)(&major, &minor, &patch));
    CHECK_EQ(minor, 13);
    aclCANNPackageVersion v;
    OK(ACL(aclsysGetCANNVersion)(ACL_PKG_NAME_CANN, &v));
    CHECK(std::string(v.version) == "8.1.RC1");
    CHECK_EQ(ACL(HcclGetCommConfigCapability)(), 5);
    CHECK(std::ifstream(EMULATOR_ROOT "/old-8.1/runtime/version.info").good());
    CHECK(std::ifstream(EMULATOR_ROOT "/toolkit/share/info/runtime/version.info").good());
  });
}

TEST("8.5 lacks what came with 9.1") {
  in_child("8.5", [] {
    open_root("release-8.5");
    CHECK(has("aclnnScatterPaKvCache") && has("aclrtLaunchHostFunc") && !has("aclmdlRIUpdate") &&
          !has("aclrtGetPhyDevIdByUserDevId"));
  });
}

TEST("a stub answers 100039 to everything") {
  in_child("stub", [] {
    open_root("stub");
    uint32_t n = 0;
    CHECK_EQ(ACL(aclInit)(nullptr), ACL_ERROR_COMPILING_STUB_MODE);
    CHECK_EQ(ACL(aclrtGetDeviceCount)(&n), ACL_ERROR_COMPILING_STUB_MODE);
    CHECK_EQ(ACL(HcclBarrier)(nullptr, nullptr), ACL_ERROR_COMPILING_STUB_MODE);
    CHECK(ACL(aclrtGetSocName)() == nullptr);
  });
}

TEST("missing operators, missing libraries, no device, no driver") {
  in_child("no fia v3", [] {
    open_root("no-fia-v3");
    CHECK(!has("aclnnFusedInferAttentionScoreV3") &&
          !has("aclnnFusedInferAttentionScoreV3GetMaxWorkspaceSize"));
    CHECK(has("aclnnFusedInferAttentionScoreV4") && has("aclnnFusedInferAttentionScoreV2"));
  });
  in_child("no fused", [] {
    open_root("no-fused");
    CHECK(!has("aclnnScatterPaKvCache") && !has("aclnnScatterPaKvCacheGetWorkspaceSize") &&
          !has("aclnnSwiGlu"));
    CHECK(has("aclnnScatterNdUpdate") && has("aclnnSilu") && has("aclnnAddmm"));
  });
  in_child("no opapi", [] { CHECK(!dlopen(EMULATOR_ROOT "/no-opapi/lib64/libopapi.so", RTLD_LAZY)); });
  in_child("no device", [] {
    open_root("no-device");
    uint32_t n = 9;
    OK(ACL(aclrtGetDeviceCount)(&n));
    CHECK_EQ(n, 0);
    CHECK_EQ(ACL(aclInit)(nullptr), ACL_ERROR_INTERNAL_ERROR);
  });
  in_child("no driver", [] {
    CHECK(!dlopen(EMULATOR_ROOT "/no-driver/lib64/libascendcl.so", RTLD_NOW));
    const char* why = dlerror();
    CHECK(why && std::strstr(why, "libascend_hal.so"));
  });
}

TEST("symbols hidden by a variable") {
  in_child("hide", [] {
    setenv("ASCEND_EMULATOR_HIDE", "aclnnMm,aclrtMemcpyBatch*,HcclSend", 1);
    open_root("toolkit");
    CHECK(!has("aclnnMm") && !has("aclnnMmGetWorkspaceSize") && !has("aclrtMemcpyBatchAsync") &&
          !has("HcclSend"));
    CHECK(has("aclnnMatmul") && has("aclrtMemcpy") && has("HcclRecv"));
  });
}

TEST("visible devices are renumbered, and the list ends at its first bad entry") {
  in_child("visible", [] {
    setenv("ASCEND_RT_VISIBLE_DEVICES", "2,5,3,7", 1);
    open_root("toolkit");
    uint32_t n = 0;
    OK(ACL(aclInit)(nullptr));
    OK(ACL(aclrtGetDeviceCount)(&n));
    CHECK_EQ(n, 2);
    OK(ACL(aclrtSetDevice)(1));
    int32_t physical = 0;
    OK(ACL(aclrtGetPhyDevIdByUserDevId)(1, &physical));
    CHECK_EQ(physical, 5);
    REFUSED(aclrtSetDevice, ACL_ERROR_RT_INVALID_DEVICEID, 2);
  });
}

TEST("signals are taken over at load, unless the variable says none") {
  in_child("taken", [] {
    unsetenv("ASCEND_COREDUMP_SIGNAL");
    struct sigaction before {
    }, after{};
    sigaction(SIGTERM, nullptr, &before);
    open_root("toolkit");
    sigaction(SIGTERM, nullptr, &after);
    CHECK(before.sa_sigaction != after.sa_sigaction);
  });
  in_child("left", [] {
    setenv("ASCEND_COREDUMP_SIGNAL", "none", 1);
    struct sigaction before {
    }, after{};
    sigaction(SIGTERM, nullptr, &before);
    open_root("toolkit");
    sigaction(SIGTERM, nullptr, &after);
    CHECK(before.sa_sigaction == after.sa_sigaction);
  });
}

TEST("a report at exit, faults from the environment, and commands over a socket") {
  char folder[] = "/tmp/ascend-emulator-XXXXXX";
  if (!mkdtemp(folder)) return harness::fail(__FILE__, __LINE__, "mkdtemp");
  const std::string report = std::string(folder) + "/report.json",
                    socket_path = std::string(folder) + "/socket";
  setenv("ASCEND_EMULATOR_REPORT", report.c_str(), 1);
  setenv("ASCEND_EMULATOR_SOCKET", socket_path.c_str(), 1);
  setenv("ASCEND_EMULATOR_FAULTS", "call:aclrtGetDeviceCount:1:507033", 1);
  const pid_t child = fork();
  if (child == 0) {
    harness::handles().clear();
    open_root("toolkit");
    uint32_t n = 0;
    bool good = ACL(aclrtGetDeviceCount)(&n) == 507033;
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path.c_str(), sizeof(address.sun_path) - 1);
    good = good && connect(s, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    const char command[] = "fault call:aclInit:1:500000\n";
    char answer[64] = {};
    good = good && write(s, command, sizeof(command) - 1) > 0 && read(s, answer, sizeof(answer) - 1) > 0;
    good = good && std::strstr(answer, "ok") && ACL(aclInit)(nullptr) == 500000 && ACL(aclInit)(nullptr) == 0;
    close(s);
    std::exit(good ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  std::string text;
  std::getline(std::ifstream(report) >> std::ws, text);
  CHECK(text.find("\"counters\"") != std::string::npos && text.find("\"violations\"") != std::string::npos);
  for (const char* name : {"ASCEND_EMULATOR_REPORT", "ASCEND_EMULATOR_SOCKET", "ASCEND_EMULATOR_FAULTS"})
    unsetenv(name);
  unlink(report.c_str());
  unlink(socket_path.c_str());
  rmdir(folder);
}

int main() {
  int failed = 0;
  for (const harness::Case& test : harness::cases()) {
    const int before = harness::failures();
    test.run();
    const bool ok = harness::failures() == before;
    std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name);
    std::fflush(stdout);
    failed += !ok;
  }
  return failed != 0;
}
