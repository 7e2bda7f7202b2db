// Writing and gathering the paged cache.

#include <cstring>
#include <string>
#include <unordered_set>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr int kFault = ACL_ERROR_RT_VECTOR_CORE_EXCEPTION;

bool is(const char* text_value, const char* wanted) {
  return !text_value || std::string(text_value) == wanted;
}

// cache[slot] = row for every slot >= 0.
void write_rows(const Operand& rows, const Ints& slots, Operand& cache) {
  const int64_t capacity = cache.dim(0) * cache.dim(1);
  const auto row = static_cast<size_t>(cache.dim(2) * cache.dim(3)) * element_size(cache.dtype());
  std::unordered_set<int64_t> seen;
  for (size_t t = 0; t < slots.size(); ++t) {
    const int64_t slot = slots[t];
    if (slot < 0) continue;
    require(slot < capacity, kFault, "slot ", slot, " of token ", t, " is beyond the cache's ", capacity);
    require(seen.insert(slot).second, kFault, "slot ", slot, " is written twice");
    std::memcpy(cache.at() + static_cast<size_t>(slot) * row, rows.at() + t * row, row);
  }
}

void check_pair(const aclTensor* rows, const aclTensor* cache, const char* name) {
  expect_dtype(rows, name, {ACL_BF16, ACL_FLOAT16, ACL_INT8});
  require(rows->dtype == cache->dtype, kParamBad, name, " and its cache differ in dtype");
  expect_rank(rows, name, 3, 3, kTiling);
  expect_rank(cache, name, 4, 4, kTiling);
  expect_contiguous(rows, name, kTiling);
  expect_contiguous(cache, name, kTiling);
  require(rows->dims[1] == cache->dims[2] && rows->dims[2] == cache->dims[3], kTiling, name, " ",
          shape_text(rows->dims), " does not fit the cache ", shape_text(cache->dims));
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnScatterPaKvCacheGetWorkspaceSize(
    const aclTensor* key, aclTensor* keyCacheRef, const aclTensor* slotMapping, const aclTensor* value,
    aclTensor* valueCacheRef, const aclTensor* compressLensOptional,
    const aclTensor* compressSeqOffsetOptional, const aclTensor* seqLensOptional, char* cacheModeOptional,
    char* scatterModeOptional, const aclIntArray* stridesOptional, const aclIntArray* offsetsOptional,
    uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnScatterPaKvCacheGetWorkspaceSize", "aclnnScatterPaKvCache", workspaceSize, executor,
                args(key, static_cast<const aclTensor*>(keyCacheRef), slotMapping, value,
                     static_cast<const aclTensor*>(valueCacheRef), cacheModeOptional, scatterModeOptional),
                [&](Builder& b) {
                  b.in(key, "key");
                  b.inout(keyCacheRef, "keyCacheRef");
                  b.in(slotMapping, "slotMapping");
                  b.in(value, "value");
                  b.inout(valueCacheRef, "valueCacheRef");
                  b.in(compressLensOptional, "compressLensOptional", Need::kOptional);
                  b.in(compressSeqOffsetOptional, "compressSeqOffsetOptional", Need::kOptional);
                  b.in(seqLensOptional, "seqLensOptional", Need::kOptional);
                  b.in_array(stridesOptional, "stridesOptional");
                  b.in_array(offsetsOptional, "offsetsOptional");
                  require(!compressLensOptional && !compressSeqOffsetOptional && !seqLensOptional, kParamBad,
                          "the compress modes are not supported here");
                  require(is(cacheModeOptional, "Norm"), kParamBad, "cacheMode must be \"Norm\"");
                  require(is(scatterModeOptional, "None"), kParamBad, "scatterMode must be \"None\"");
                  check_pair(key, keyCacheRef, "key");
                  check_pair(value, valueCacheRef, "value");
                  require(key->dtype == value->dtype, kParamBad, "key and value differ in dtype");
                  expect_dtype(slotMapping, "slotMapping", {ACL_INT32, ACL_INT64});
                  expect_shape(slotMapping, "slotMapping", {key->dims[0]}, kTiling);
                  require(value->dims[0] == key->dims[0], kTiling, "value has ", value->dims[0],
                          " tokens, key ", key->dims[0]);
                  b.workspace(32);
                  b.kernel([](Frame& k) {
                    const Ints slots = read_ints(k.input(2));
                    write_rows(k.input(0), slots, k.output(0));
                    write_rows(k.input(3), slots, k.output(1));
                  });
                });
}
EMU_PHASE2(aclnnScatterPaKvCache)

aclnnStatus aclnnGatherPaKvCacheGetWorkspaceSize(const aclTensor* keyCache, const aclTensor* valueCache,
                                                 const aclTensor* blockTables, const aclTensor* seqLens,
                                                 aclTensor* keyRef, aclTensor* valueRef,
                                                 const aclTensor* seqOffsetOptional, char* cacheMode,
                                                 bool isSeqLensCumsum, uint64_t* workspaceSize,
                                                 aclOpExecutor** executor) {
  return phase1(
      "aclnnGatherPaKvCacheGetWorkspaceSize", "aclnnGatherPaKvCache", workspaceSize, executor,
      args(keyCache, valueCache, blockTables, seqLens, static_cast<const aclTensor*>(keyRef),
           static_cast<const aclTensor*>(valueRef), seqOffsetOptional, cacheMode, isSeqLensCumsum),
      [&](Builder& b) {
        b.in(keyCache, "keyCache");
        b.in(valueCache, "valueCache");
        b.in(blockTables, "blockTables");
        b.in(seqLens, "seqLens");
        b.inout(keyRef, "keyRef");
        b.inout(valueRef, "valueRef");
        b.in(seqOffsetOptional, "seqOffsetOptional", Need::kOptional);
        require(is(cacheMode, "Norm"), kParamBad, "cacheMode must be \"Norm\"");
        require(!seqOffsetOptional, kParamBad, "seqOffset is not supported here");
        check_pair(keyRef, keyCache, "keyRef");
        check_pair(valueRef, valueCache, "valueRef");
        expect_dtype(blockTables, "blockTables", {ACL_INT32});
        expect_rank(blockTables, "blockTables", 2, 2);
        expect_dtype(seqLens, "seqLens", {ACL_INT32});
        expect_shape(seqLens, "seqLens", {blockTables->dims[0] + isSeqLensCumsum});
        b.workspace(32);
        b.kernel([isSeqLensCumsum](Frame& k) {
          const Ints table = read_ints(k.input(2)), lengths = read_ints(k.input(3));
          const Operand& blocks = k.input(2);
          const int64_t size = k.input(0).dim(1), count_blocks = k.input(0).dim(0);
          int64_t token = 0;
          for (int64_t s = 0; s < blocks.dim(0); ++s) {
            const auto at = static_cast<size_t>(s);
            const int64_t n = isSeqLensCumsum ? lengths[at + 1] - lengths[at] : lengths[at];
            for (int64_t i = 0; i < n; ++i, ++token) {
              const int64_t block = table[static_cast<size_t>(s * blocks.dim(1) + i / size)];
              require(block >= 0 && block < count_blocks && token < k.output(0).dim(0), kFault, "block ",
                      block, " or token ", token, " is out of range");
              for (size_t side = 0; side < 2; ++side) {
                Operand& to = k.output(side);
                const auto row = static_cast<size_t>(to.dim(1) * to.dim(2)) * element_size(to.dtype());
                std::memcpy(to.at() + static_cast<size_t>(token) * row,
                            k.input(side).at() + static_cast<size_t>(block * size + i % size) * row, row);
              }
            }
          }
        });
      });
}
EMU_PHASE2(aclnnGatherPaKvCache)

}  // extern "C"
