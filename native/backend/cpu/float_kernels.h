// All bodies and the table of them. Include inside `namespace agentinfer { namespace {` after the ISA's
// vec_*.h.

// Each needs the ones before it.
// clang-format off
#include "backend/cpu/body_fetch.h"
#include "backend/cpu/body_math.h"
#include "backend/cpu/body_matmul.h"
#include "backend/cpu/body_rows.h"
#include "backend/cpu/body_attention.h"
#include "backend/cpu/body_limits.h"
// clang-format on

constexpr FloatKernels kFloatTable{
    .matmul = matmul_bf16,
    .rms_norm = rms_norm,
    .add = add_rows,
    .swiglu = swiglu,
    .swiglu_panels = swiglu_panels,
    .rope = rope,
    .to_f16 = to_f16,
    .to_bf16 = to_bf16,
    .argmax = argmax,
    .attention_chunk = attention_chunk,
    .attention_fold = attention_fold,
    .attention_finish = attention_finish,
    .fma_loop = fma_loop,
    .fma_flops = kFmaFlops,
    .read_loop = read_loop,
};
