#include "backend/cpu/fetch_rule.h"

namespace agentinfer {

FetchRule fetch_rule() {
#if defined(__x86_64__)
  if (__builtin_cpu_is("amd"))
    return {.few = Fetch::kNone, .many = Fetch::kSecond, .few_bf16 = 2, .few_int8 = 4};
#endif
  return {};
}

}  // namespace agentinfer
