#include "backend/cpu/dispatch.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "tensor/check.h"

namespace agentinfer {

extern const FloatKernels kFloatPortable, kFloatAvx2, kFloatAvx512, kFloatNeon;
extern const Int8Kernels kInt8Portable, kInt8Avx2, kInt8Avx512Vnni, kInt8Neon, kInt8NeonDotprod;

namespace {

#if defined(__aarch64__)
bool has_dotprod() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return true;  // every Apple processor that runs aarch64 macOS
#endif
}
#endif

std::vector<Kernels> runnable() {
  std::vector<Kernels> all;
#if defined(__x86_64__)
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512vnni"))
    all.push_back({"avx512vnni", &kFloatAvx512, &kInt8Avx512Vnni});
  if (avx512) all.push_back({"avx512", &kFloatAvx512, &kInt8Avx2});
  if (avx2) all.push_back({"avx2", &kFloatAvx2, &kInt8Avx2});
#elif defined(__aarch64__)
  if (has_dotprod()) all.push_back({"neon-dotprod", &kFloatNeon, &kInt8NeonDotprod});
  all.push_back({"neon", &kFloatNeon, &kInt8Neon});
#endif
  all.push_back({"portable", &kFloatPortable, &kInt8Portable});
  return all;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels& kernels : runnable()) names.emplace_back(kernels.isa);
  return names;
}

Kernels select_kernels(std::string_view isa) {
  const std::vector<Kernels> all = runnable();
  if (isa.empty()) return all.front();
  std::string names;
  for (const Kernels& kernels : all) {
    if (isa == kernels.isa) return kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels.isa);
  }
  fail(ErrorCode::kInvalidArgument, "instruction set \"", isa,
       "\" is unknown or not available here; available: ", names);
}

}  // namespace agentinfer
