// aclnnFusedInferAttentionScore: fills the common description of the call.

#include "abi/aclnn_attention.h"
#include "ops/attention.h"

using namespace emu;

extern "C" {

namespace {
aclnnStatus attention_v1(const char* function, bool worst_case, const aclTensor* query,
                         const aclTensorList* key, const aclTensorList* value, const aclTensor* pseShift,
                         const aclTensor* attenMask, const aclIntArray* actualSeqLengths,
                         const aclIntArray* actualSeqLengthsKv, const aclTensor* deqScale1,
                         const aclTensor* quantScale1, const aclTensor* deqScale2,
                         const aclTensor* quantScale2, const aclTensor* quantOffset2,
                         const aclTensor* antiquantScale, const aclTensor* antiquantOffset,
                         const aclTensor* blockTable, const aclTensor* queryPaddingSize,
                         const aclTensor* kvPaddingSize, int64_t numHeads, double scaleValue,
                         int64_t preTokens, int64_t nextTokens, char* inputLayout, int64_t numKeyValueHeads,
                         int64_t sparseMode, int64_t innerPrecise, int64_t blockSize, int64_t antiquantMode,
                         bool softmaxLseFlag, const aclTensor* attentionOut, const aclTensor* softmaxLse,
                         uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(function, "aclnnFusedInferAttentionScore", workspaceSize, executor,
                args(query, key, value, attenMask, actualSeqLengths, actualSeqLengthsKv, blockTable, numHeads,
                     scaleValue, preTokens, nextTokens, inputLayout, numKeyValueHeads, sparseMode,
                     innerPrecise, blockSize, softmaxLseFlag, attentionOut, softmaxLse),
                [&](Builder& b) {
                  AttentionCall c;
                  b.in(query, "query");
                  b.in_list(key, "key");
                  b.in_list(value, "value");
                  unused_input(b, c, pseShift, "pseShift");
                  b.in(attenMask, "attenMask", Need::kOptional);
                  b.in_array(actualSeqLengths, "actualSeqLengths");
                  b.in_array(actualSeqLengthsKv, "actualSeqLengthsKv");
                  unused_input(b, c, deqScale1, "deqScale1");
                  unused_input(b, c, quantScale1, "quantScale1");
                  unused_input(b, c, deqScale2, "deqScale2");
                  unused_input(b, c, quantScale2, "quantScale2");
                  unused_input(b, c, quantOffset2, "quantOffset2");
                  unused_input(b, c, antiquantScale, "antiquantScale");
                  unused_input(b, c, antiquantOffset, "antiquantOffset");
                  b.in(blockTable, "blockTable", Need::kOptional);
                  unused_input(b, c, queryPaddingSize, "queryPaddingSize");
                  unused_input(b, c, kvPaddingSize, "kvPaddingSize");
                  b.out(attentionOut, "attentionOut");
                  b.out(softmaxLse, "softmaxLse", Need::kOptional);
                  c.query = query;
                  c.key = key;
                  c.value = value;
                  c.mask = attenMask;
                  c.block_table = blockTable;
                  c.lengths = actualSeqLengths;
                  c.kv_lengths = actualSeqLengthsKv;
                  c.heads = numHeads;
                  c.kv_heads = numKeyValueHeads;
                  c.scale = scaleValue;
                  c.pre_tokens = preTokens;
                  c.next_tokens = nextTokens;
                  c.sparse_mode = sparseMode;
                  c.inner_precise = innerPrecise;
                  c.block_size = blockSize;
                  c.layout = inputLayout;
                  c.want_lse = softmaxLseFlag;
                  c.out = attentionOut;
                  c.lse = softmaxLse;
                  c.unused_modes = {antiquantMode};
                  build_attention(b, c, worst_case);
                });
}
}  // namespace

aclnnStatus aclnnFusedInferAttentionScoreGetWorkspaceSize(
    const aclTensor* query, const aclTensorList* key, const aclTensorList* value, const aclTensor* pseShift,
    const aclTensor* attenMask, const aclIntArray* actualSeqLengths, const aclIntArray* actualSeqLengthsKv,
    const aclTensor* deqScale1, const aclTensor* quantScale1, const aclTensor* deqScale2,
    const aclTensor* quantScale2, const aclTensor* quantOffset2, const aclTensor* antiquantScale,
    const aclTensor* antiquantOffset, const aclTensor* blockTable, const aclTensor* queryPaddingSize,
    const aclTensor* kvPaddingSize, int64_t numHeads, double scaleValue, int64_t preTokens,
    int64_t nextTokens, char* inputLayout, int64_t numKeyValueHeads, int64_t sparseMode, int64_t innerPrecise,
    int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag, const aclTensor* attentionOut,
    const aclTensor* softmaxLse, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return attention_v1("aclnnFusedInferAttentionScoreGetWorkspaceSize", false, query, key, value, pseShift,
                      attenMask, actualSeqLengths, actualSeqLengthsKv, deqScale1, quantScale1, deqScale2,
                      quantScale2, quantOffset2, antiquantScale, antiquantOffset, blockTable,
                      queryPaddingSize, kvPaddingSize, numHeads, scaleValue, preTokens, nextTokens,
                      inputLayout, numKeyValueHeads, sparseMode, innerPrecise, blockSize, antiquantMode,
                      softmaxLseFlag, attentionOut, softmaxLse, workspaceSize, executor);
}

EMU_PHASE2(aclnnFusedInferAttentionScore)

}  // extern "C"
