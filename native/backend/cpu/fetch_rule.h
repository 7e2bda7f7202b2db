#pragma once
// Which Fetch serves a product of so many rows, by processor. Kernels side by side in one process, one
// thread, 0.9 MB of weights after the other from memory:
//
//   AMD Zen 4                       1 row   3 rows  6 rows  8 rows  12 rows
//   int8, GB/s   kNone                32      26      22      18      14
//                kFirst               24      18      15      14      14
//                kSecond              30      25      29      26      18
//   16 bit       kNone                32      22      15      12       8
//                kFirst               20      16      15      14       9
//                kSecond              24      29      18      14       9
//
// On Intel's Cascade Lake kFirst was best for all.

#include "backend/cpu/kernels.h"

namespace agentinfer {

struct FetchRule {
  Fetch few = Fetch::kFirst, many = Fetch::kFirst;
  int few_bf16 = 0, few_int8 = 0;  // rows that count as few

  Fetch bf16(int rows) const { return rows <= few_bf16 ? few : many; }
  Fetch int8(int rows) const { return rows <= few_int8 ? few : many; }
};

// Of the processor that this runs on.
FetchRule fetch_rule();

}  // namespace agentinfer
