// What may not happen in one's own process is made to happen in a child.

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include "harness.h"

namespace {

int signal_of(void (*body)()) {
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    harness::open_libraries(EMULATOR_ROOT "/toolkit");
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void* device_memory() {
  ACL(aclInit)(nullptr);
  ACL(aclrtSetDevice)(0);
  void* at = nullptr;
  ACL(aclrtMalloc)(&at, 64, ACL_MEM_MALLOC_HUGE_FIRST);
  return at;
}

}  // namespace

TEST("a host read or write of device memory faults") {
  CHECK_EQ(signal_of([] { *static_cast<volatile int*>(device_memory()) = 1; }), SIGSEGV);
  CHECK_EQ(signal_of([] { (void)*static_cast<volatile int*>(device_memory()); }), SIGSEGV);
}

TEST("so does a touch of freed page-locked memory, and of the byte behind it") {
  CHECK_EQ(signal_of([] {
             device_memory();
             void* at = nullptr;
             ACL(aclrtMallocHost)(&at, 4096);
             ACL(aclrtFreeHost)(at);
             *static_cast<volatile char*>(at) = 1;
           }),
           SIGSEGV);
  CHECK_EQ(signal_of([] {
             device_memory();
             void* at = nullptr;
             ACL(aclrtMallocHost)(&at, 4096);
             static_cast<volatile char*>(at)[4096] = 1;
           }),
           SIGSEGV);
}

TEST("abort on the first violation, for debugging") {
  CHECK_EQ(signal_of([] {
             device_memory();
             ACL(emu_abort_on_violation)(1);
             ACL(aclrtFree)(nullptr);
           }),
           SIGABRT);
}

TEST("a forked child cannot use a runtime that its parent started") {
  CHECK_EQ(signal_of([] {
             device_memory();
             const pid_t grandchild = fork();
             if (grandchild == 0) {
               uint32_t n = 0;
               _exit(ACL(aclrtGetDeviceCount)(&n) == 507899 && ACL(emu_violation_count)() == 1 ? 0 : 1);
             }
             int status = 0;
             waitpid(grandchild, &status, 0);
             if (status != 0) std::abort();
           }),
           0);
}

int main() {
  int failed = 0;
  for (const harness::Case& test : harness::cases()) {
    const int before = harness::failures();
    test.run();
    const bool ok = harness::failures() == before;
    std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name);
    failed += !ok;
  }
  return failed != 0;
}
