#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace agentinfer {

Sequence::Sequence(SequenceSpec spec, int block_size)
    : id(spec.id),
      owner(spec.session < 0 ? kNoOwner : spec.session),
      salt(spec.salt),
      max_tokens(spec.max_tokens),
      sampling(std::move(spec.sampling)),
      tokens(std::move(spec.tokens)),
      table(block_size),
      cursor(salt),
      speculation(std::move(spec.speculation)) {
  if (sampling.penalised()) history.append_prompt(tokens);
}

FinishReason Sequence::emit(int32_t token, int64_t max_context) {
  tokens.push_back(token);
  if (sampling.penalised())
    history.append_output(token);
  else
    history.skip_output();
  if (std::find(sampling.stop_ids.begin(), sampling.stop_ids.end(), token) != sampling.stop_ids.end())
    return FinishReason::kStop;
  return outputs() >= max_tokens || known() >= max_context ? FinishReason::kLength : FinishReason::kNone;
}

}  // namespace agentinfer
