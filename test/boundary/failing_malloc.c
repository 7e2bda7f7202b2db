// Preloaded into Node: between process.umask(0o111) and another process.umask, the addon's threads get no memory.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void* __libc_malloc(size_t size);
static atomic_int failing;

mode_t umask(mode_t mask) {
  failing = mask == 0111;
  return (mode_t)syscall(SYS_umask, mask);
}

void* malloc(size_t size) {
  if (failing && syscall(SYS_gettid) != getpid()) {
    Dl_info caller;  // the addon has an `operator new` of its own
    if (dladdr(__builtin_return_address(0), &caller) && strstr(caller.dli_fname, "agentinfer.node")) return NULL;
  }
  return __libc_malloc(size);
}
