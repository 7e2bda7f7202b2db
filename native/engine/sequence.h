#pragma once
// What C++ knows of a request: its tokens, its blocks, and how far it is.
//   0 <= table.computed() < tokens.size(), except after the last token's row: the token sampled last has no
//   KV yet (pending)

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "draft/draft_memory.h"
#include "engine/step.h"
#include "engine/token_history.h"
#include "kv/block_table.h"
#include "kv/chain_cursor.h"
#include "kv/retention.h"

namespace agentinfer {

struct Sequence {
  Sequence(SequenceSpec spec, int block_size);

  int64_t known() const { return static_cast<int64_t>(tokens.size()); }
  int64_t computed() const { return table.computed(); }
  int64_t outputs() const { return history.output_tokens(); }
  bool forced() const { return outputs() < static_cast<int64_t>(sampling.forced.size()); }
  // True while plain argmax of the next logits gives its token.
  bool wants_argmax() const {
    return forced() || (sampling.plain_argmax() && outputs() >= sampling.min_tokens);
  }
  // Appends a sampled token and says whether it ends the sequence. `max_context`: tokens the engine has room
  // for.
  FinishReason emit(int32_t token, int64_t max_context);

  const int32_t id;
  const OwnerId owner;
  const uint64_t salt;
  const int64_t max_tokens;
  const SamplingParams sampling;
  std::vector<int32_t> tokens;  // prompt, then output
  TokenHistory history;
  BlockTable table;
  ChainCursor cursor;
  const SpeculationSpec speculation;
  std::unique_ptr<DraftMemory::Set> drafting;  // what it drafts from; null: nothing
  bool started = false;                        // has looked for cached blocks and holds its own
  uint64_t joined_step = 0;                    // number of the engine's last step it was part of; 0: none
  std::array<int32_t, kProbe.size()>
      probed{};  // the last report; all zero: none since it was added or preempted
};

}  // namespace agentinfer
