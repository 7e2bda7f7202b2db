// aclnnFusedInferAttentionScoreV2: fills the common description of the call.

#include "abi/aclnn_attention.h"
#include "ops/attention.h"

using namespace emu;

extern "C" {

namespace {
aclnnStatus attention_v2(
    const char* function, bool worst_case, const aclTensor* query, const aclTensorList* key,
    const aclTensorList* value, const aclTensor* pseShiftOptional, const aclTensor* attenMaskOptional,
    const aclIntArray* actualSeqLengthsOptional, const aclIntArray* actualSeqLengthsKvOptional,
    const aclTensor* deqScale1Optional, const aclTensor* quantScale1Optional,
    const aclTensor* deqScale2Optional, const aclTensor* quantScale2Optional,
    const aclTensor* quantOffset2Optional, const aclTensor* antiquantScaleOptional,
    const aclTensor* antiquantOffsetOptional, const aclTensor* blockTableOptional,
    const aclTensor* queryPaddingSizeOptional, const aclTensor* kvPaddingSizeOptional,
    const aclTensor* keyAntiquantScaleOptional, const aclTensor* keyAntiquantOffsetOptional,
    const aclTensor* valueAntiquantScaleOptional, const aclTensor* valueAntiquantOffsetOptional,
    const aclTensor* keySharedPrefixOptional, const aclTensor* valueSharedPrefixOptional,
    const aclIntArray* actualSharedPrefixLenOptional, int64_t numHeads, double scaleValue, int64_t preTokens,
    int64_t nextTokens, char* inputLayout, int64_t numKeyValueHeads, int64_t sparseMode, int64_t innerPrecise,
    int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag, int64_t keyAntiquantMode,
    int64_t valueAntiquantMode, const aclTensor* attentionOut, const aclTensor* softmaxLse,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      function, "aclnnFusedInferAttentionScoreV2", workspaceSize, executor,
      args(query, key, value, attenMaskOptional, actualSeqLengthsOptional, actualSeqLengthsKvOptional,
           blockTableOptional, numHeads, scaleValue, preTokens, nextTokens, inputLayout, numKeyValueHeads,
           sparseMode, innerPrecise, blockSize, softmaxLseFlag, attentionOut, softmaxLse),
      [&](Builder& b) {
        AttentionCall c;
        b.in(query, "query");
        b.in_list(key, "key");
        b.in_list(value, "value");
        unused_input(b, c, pseShiftOptional, "pseShiftOptional");
        b.in(attenMaskOptional, "attenMaskOptional", Need::kOptional);
        b.in_array(actualSeqLengthsOptional, "actualSeqLengthsOptional");
        b.in_array(actualSeqLengthsKvOptional, "actualSeqLengthsKvOptional");
        unused_input(b, c, deqScale1Optional, "deqScale1Optional");
        unused_input(b, c, quantScale1Optional, "quantScale1Optional");
        unused_input(b, c, deqScale2Optional, "deqScale2Optional");
        unused_input(b, c, quantScale2Optional, "quantScale2Optional");
        unused_input(b, c, quantOffset2Optional, "quantOffset2Optional");
        unused_input(b, c, antiquantScaleOptional, "antiquantScaleOptional");
        unused_input(b, c, antiquantOffsetOptional, "antiquantOffsetOptional");
        b.in(blockTableOptional, "blockTableOptional", Need::kOptional);
        unused_input(b, c, queryPaddingSizeOptional, "queryPaddingSizeOptional");
        unused_input(b, c, kvPaddingSizeOptional, "kvPaddingSizeOptional");
        unused_input(b, c, keyAntiquantScaleOptional, "keyAntiquantScaleOptional");
        unused_input(b, c, keyAntiquantOffsetOptional, "keyAntiquantOffsetOptional");
        unused_input(b, c, valueAntiquantScaleOptional, "valueAntiquantScaleOptional");
        unused_input(b, c, valueAntiquantOffsetOptional, "valueAntiquantOffsetOptional");
        unused_input(b, c, keySharedPrefixOptional, "keySharedPrefixOptional");
        unused_input(b, c, valueSharedPrefixOptional, "valueSharedPrefixOptional");
        b.in_array(actualSharedPrefixLenOptional, "actualSharedPrefixLenOptional");
        b.out(attentionOut, "attentionOut");
        b.out(softmaxLse, "softmaxLse", Need::kOptional);
        c.query = query;
        c.key = key;
        c.value = value;
        c.mask = attenMaskOptional;
        c.block_table = blockTableOptional;
        c.lengths = actualSeqLengthsOptional;
        c.kv_lengths = actualSeqLengthsKvOptional;
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
        c.unused_modes = {antiquantMode, keyAntiquantMode, valueAntiquantMode};
        require(!actualSharedPrefixLenOptional, kTiling, "shared prefixes are not supported here");
        build_attention(b, c, worst_case);
      });
}
}  // namespace

aclnnStatus aclnnFusedInferAttentionScoreV2GetWorkspaceSize(
    const aclTensor* query, const aclTensorList* key, const aclTensorList* value,
    const aclTensor* pseShiftOptional, const aclTensor* attenMaskOptional,
    const aclIntArray* actualSeqLengthsOptional, const aclIntArray* actualSeqLengthsKvOptional,
    const aclTensor* deqScale1Optional, const aclTensor* quantScale1Optional,
    const aclTensor* deqScale2Optional, const aclTensor* quantScale2Optional,
    const aclTensor* quantOffset2Optional, const aclTensor* antiquantScaleOptional,
    const aclTensor* antiquantOffsetOptional, const aclTensor* blockTableOptional,
    const aclTensor* queryPaddingSizeOptional, const aclTensor* kvPaddingSizeOptional,
    const aclTensor* keyAntiquantScaleOptional, const aclTensor* keyAntiquantOffsetOptional,
    const aclTensor* valueAntiquantScaleOptional, const aclTensor* valueAntiquantOffsetOptional,
    const aclTensor* keySharedPrefixOptional, const aclTensor* valueSharedPrefixOptional,
    const aclIntArray* actualSharedPrefixLenOptional, int64_t numHeads, double scaleValue, int64_t preTokens,
    int64_t nextTokens, char* inputLayout, int64_t numKeyValueHeads, int64_t sparseMode, int64_t innerPrecise,
    int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag, int64_t keyAntiquantMode,
    int64_t valueAntiquantMode, const aclTensor* attentionOut, const aclTensor* softmaxLse,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return attention_v2(
      "aclnnFusedInferAttentionScoreV2GetWorkspaceSize", false, query, key, value, pseShiftOptional,
      attenMaskOptional, actualSeqLengthsOptional, actualSeqLengthsKvOptional, deqScale1Optional,
      quantScale1Optional, deqScale2Optional, quantScale2Optional, quantOffset2Optional,
      antiquantScaleOptional, antiquantOffsetOptional, blockTableOptional, queryPaddingSizeOptional,
      kvPaddingSizeOptional, keyAntiquantScaleOptional, keyAntiquantOffsetOptional,
      valueAntiquantScaleOptional, valueAntiquantOffsetOptional, keySharedPrefixOptional,
      valueSharedPrefixOptional, actualSharedPrefixLenOptional, numHeads, scaleValue, preTokens, nextTokens,
      inputLayout, numKeyValueHeads, sparseMode, innerPrecise, blockSize, antiquantMode, softmaxLseFlag,
      keyAntiquantMode, valueAntiquantMode, attentionOut, softmaxLse, workspaceSize, executor);
}

aclnnStatus aclnnFusedInferAttentionScoreV2GetMaxWorkspaceSize(
    const aclTensor* query, const aclTensorList* key, const aclTensorList* value,
    const aclTensor* pseShiftOptional, const aclTensor* attenMaskOptional,
    const aclIntArray* actualSeqLengthsOptional, const aclIntArray* actualSeqLengthsKvOptional,
    const aclTensor* deqScale1Optional, const aclTensor* quantScale1Optional,
    const aclTensor* deqScale2Optional, const aclTensor* quantScale2Optional,
    const aclTensor* quantOffset2Optional, const aclTensor* antiquantScaleOptional,
    const aclTensor* antiquantOffsetOptional, const aclTensor* blockTableOptional,
    const aclTensor* queryPaddingSizeOptional, const aclTensor* kvPaddingSizeOptional,
    const aclTensor* keyAntiquantScaleOptional, const aclTensor* keyAntiquantOffsetOptional,
    const aclTensor* valueAntiquantScaleOptional, const aclTensor* valueAntiquantOffsetOptional,
    const aclTensor* keySharedPrefixOptional, const aclTensor* valueSharedPrefixOptional,
    const aclIntArray* actualSharedPrefixLenOptional, int64_t numHeads, double scaleValue, int64_t preTokens,
    int64_t nextTokens, char* inputLayout, int64_t numKeyValueHeads, int64_t sparseMode, int64_t innerPrecise,
    int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag, int64_t keyAntiquantMode,
    int64_t valueAntiquantMode, const aclTensor* attentionOut, const aclTensor* softmaxLse,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return attention_v2(
      "aclnnFusedInferAttentionScoreV2GetMaxWorkspaceSize", true, query, key, value, pseShiftOptional,
      attenMaskOptional, actualSeqLengthsOptional, actualSeqLengthsKvOptional, deqScale1Optional,
      quantScale1Optional, deqScale2Optional, quantScale2Optional, quantOffset2Optional,
      antiquantScaleOptional, antiquantOffsetOptional, blockTableOptional, queryPaddingSizeOptional,
      kvPaddingSizeOptional, keyAntiquantScaleOptional, keyAntiquantOffsetOptional,
      valueAntiquantScaleOptional, valueAntiquantOffsetOptional, keySharedPrefixOptional,
      valueSharedPrefixOptional, actualSharedPrefixLenOptional, numHeads, scaleValue, preTokens, nextTokens,
      inputLayout, numKeyValueHeads, sparseMode, innerPrecise, blockSize, antiquantMode, softmaxLseFlag,
      keyAntiquantMode, valueAntiquantMode, attentionOut, softmaxLse, workspaceSize, executor);
}

EMU_PHASE2(aclnnFusedInferAttentionScoreV2)

}  // extern "C"
