#include "kv/block_pool.h"

#include "check.h"
#include "kv/block_table.h"

using namespace agentinfer;

// A slow pool: what each block is, spelled out.
struct NaiveBlock {
  int refs = 0;
  bool indexed = false;
};

TEST("any sequence of operations keeps free + used + cached = total and agrees with a naive pool") {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const int blocks = 1 + static_cast<int>(random() % 12);
    BlockPool pool(blocks, 4);
    std::vector<NaiveBlock> naive(static_cast<size_t>(blocks));
    for (int step = 0; step < 300; ++step) {
      const int32_t block = static_cast<int32_t>(random() % static_cast<uint32_t>(blocks));
      NaiveBlock& expected = naive[static_cast<size_t>(block)];
      switch (random() % 5) {
        case 0: {
          const int32_t taken = pool.allocate();
          if (taken == kNoBlock) {
            for (const NaiveBlock& entry : naive) CHECK(entry.refs > 0 || entry.indexed);
          } else {
            NaiveBlock& entry = naive[static_cast<size_t>(taken)];
            CHECK(entry.refs == 0 && !entry.indexed);
            entry.refs = 1;
          }
          break;
        }
        case 1:
          if (expected.refs == 0 && !expected.indexed) {
            CHECK_THROWS(pool.ref(block), ErrorCode::kInvalidArgument, "is free");
          } else {
            pool.ref(block);
            ++expected.refs;
          }
          break;
        case 2:
          if (expected.refs == 0) {
            CHECK_THROWS(pool.unref(block), ErrorCode::kInvalidArgument, "more often");
          } else {
            --expected.refs;
            const BlockState state = expected.refs > 0  ? BlockState::kUsed
                                     : expected.indexed ? BlockState::kCached
                                                        : BlockState::kFree;
            CHECK(pool.unref(block) == state);
          }
          break;
        case 3:
          if (expected.refs > 0 && !expected.indexed) {
            pool.set_node(block, block + 100);
            expected.indexed = true;
          } else {
            CHECK_THROWS(pool.set_node(block, 1), ErrorCode::kInvalidArgument, "unindexed");
          }
          break;
        default:
          if (expected.indexed) {
            pool.clear_node(block);
            expected.indexed = false;
          } else {
            CHECK_THROWS(pool.clear_node(block), ErrorCode::kInvalidArgument, "not indexed");
          }
      }
      pool.check();
      int used = 0, cached = 0;
      for (int i = 0; i < blocks; ++i) {
        const NaiveBlock& entry = naive[static_cast<size_t>(i)];
        CHECK_EQ(pool.refs(i), entry.refs);
        CHECK_EQ(pool.node(i), entry.indexed ? i + 100 : kNoNode);
        used += entry.refs > 0;
        cached += entry.refs == 0 && entry.indexed;
      }
      CHECK_EQ(pool.used_count(), used);
      CHECK_EQ(pool.cached_count(), cached);
      CHECK_EQ(pool.free_count(), blocks - used - cached);
    }
  }
}

TEST("impossible sizes and foreign blocks are refused with what was expected") {
  CHECK_THROWS(BlockPool(0, 4), ErrorCode::kInvalidArgument, "at least 1 block, got 0");
  CHECK_THROWS(BlockPool(4, 0), ErrorCode::kInvalidArgument, "block size of at least 1, got 0");
  BlockPool pool(2, 4);
  CHECK_THROWS(pool.ref(2), ErrorCode::kInvalidArgument, "[0, 2), got 2");
  CHECK_THROWS(pool.unref(-1), ErrorCode::kInvalidArgument, "got -1");
}

TEST("a table's slots follow its blocks") {
  BlockTable table(4);
  CHECK_EQ(table.blocks_needed(0), 0);
  CHECK_EQ(table.blocks_needed(9), 3);
  const std::vector<int32_t> blocks = {7, 2};
  table.append(blocks);
  CHECK_EQ(table.capacity(), 8);
  CHECK_EQ(table.blocks_needed(9), 1);
  CHECK_EQ(table.slot(3), 31);
  CHECK_EQ(table.slot(4), 8);
  CHECK_THROWS(table.slot(8), ErrorCode::kInternal, "position 8");
  table.set_computed(8);
  CHECK_THROWS(table.set_computed(9), ErrorCode::kInternal, "9 computed tokens in 8 slots");
}

CHECK_MAIN
