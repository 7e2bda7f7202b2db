// What follows from options and config before any memory is taken.

#include "../model/golden.h"
#include "check.h"
#include "engine/loaded_engine.h"

using namespace agentinfer;

namespace {

constexpr size_t kAvailable = size_t{1} << 28, kHostTier = size_t{1} << 30;

const ModelConfig& config() {
  static const ModelConfig read = read_model_config(golden::folder("pangu-sharded"));
  return read;
}

EngineOptions options(size_t host_kv_bytes, bool own_memory) {
  EngineOptions made;
  made.block_size = 32;
  made.host_kv_bytes = host_kv_bytes;
  made.own_memory = own_memory;
  return made;
}

}  // namespace

TEST("the host tier leaves no room for KV in the host's memory, and does not touch a device's") {
  const int without = resolve_sizes(config(), options(0, false), kAvailable).blocks;
  CHECK(resolve_sizes(config(), options(kHostTier, false), kAvailable).blocks < without);
  CHECK_EQ(resolve_sizes(config(), options(0, true), kAvailable).blocks, without);
  CHECK_EQ(resolve_sizes(config(), options(kHostTier, true), kAvailable).blocks, without);
  CHECK(resolve_sizes(config(), options(kHostTier, true), kAvailable).host_blocks > 0);
}

TEST("a host tier of more blocks than can be numbered is refused") {
  CHECK_THROWS(resolve_sizes(config(), options(size_t{1} << 53, false), 0), ErrorCode::kInvalidArgument,
               "hostKvBytes must be at most");
}

CHECK_MAIN
