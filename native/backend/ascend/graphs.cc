#include "backend/ascend/graphs.h"

#include <algorithm>

#include "backend/ascend/status.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr int kMostRows = 16;  // of a sequence: what the attention takes in one tile

// Nothing to capture with, or empty.
std::string missing(const acl::RuntimeFunctions& rt) {
  const bool complete = rt.aclmdlRICaptureBegin && rt.aclmdlRICaptureEnd && rt.aclmdlRIExecuteAsync &&
                        rt.aclmdlRIDestroy && rt.aclmdlRICaptureTaskGrpBegin &&
                        rt.aclmdlRICaptureTaskGrpEnd && rt.aclmdlRICaptureTaskUpdateBegin &&
                        rt.aclmdlRICaptureTaskUpdateEnd;
  return complete ? "" : "this CANN cannot capture graphs with tasks to update";
}

}  // namespace

std::optional<StepBucket> bucket_for(const StepInputs& inputs, const StepShape& shape) {
  const int rows = static_cast<int>(inputs.tokens.size()),
            sequences = static_cast<int>(inputs.sequences.size());
  if (inputs.logit_rows.size() != inputs.tokens.size() || sequences == 0) return std::nullopt;
  int most = 1;
  for (const StepSequence& sequence : inputs.sequences)
    most = std::max(most, sequence.query_end - sequence.query_begin);
  if (most > kMostRows) return std::nullopt;
  int query = 1;
  while (query < most) query *= 2;
  const int wide = bucket_of(sequences);
  // One dummy more where rows may be missing though sequences are not: it takes them.
  const StepBucket bucket = query == 1 ? StepBucket{wide, wide} : StepBucket{wide * query + 1, wide + 1};
  if (bucket.rows > std::min(shape.max_rows, shape.max_logit_rows) || bucket.rows < rows) return std::nullopt;
  return bucket;
}

StepGraphs::StepGraphs(Launcher& launcher, bool wanted)
    : launcher_(launcher), why_(wanted ? missing(launcher.device().rt()) : "graphs are turned off") {
  launcher.workspace().set_on_move([this] { clear(); });
}

void StepGraphs::clear() noexcept {
  AscendDevice& device = launcher_.device();
  if (!graphs_.empty()) device.settle();
  for (auto& [bucket, graph] : graphs_) device.rt().aclmdlRIDestroy(graph.model);
  graphs_.clear();
  updates_.clear();
  if (updated_ != nullptr) device.rt().aclrtDestroyEvent(std::exchange(updated_, nullptr));
}

void StepGraphs::record(const std::vector<TapeEntry>& tape, Graph& graph) {
  AscendDevice& device = launcher_.device();
  const acl::RuntimeFunctions& rt = device.rt();
  const acl::aclrtStream stream = device.stream();
  for (const TapeEntry& entry : tape) {
    if (entry.call == nullptr) {
      entry.enqueue(stream);
      continue;
    }
    entry.call->rebind(entry.addresses);
    if (entry.attention) device.check(rt.aclmdlRICaptureTaskGrpBegin(stream), "aclmdlRICaptureTaskGrpBegin");
    entry.call->launch(launcher_.workspace(), stream);
    if (!entry.attention) continue;
    graph.groups.push_back({nullptr, entry.addresses});
    device.check(rt.aclmdlRICaptureTaskGrpEnd(stream, &graph.groups.back().handle),
                 "aclmdlRICaptureTaskGrpEnd");
  }
}

void StepGraphs::capture(const StepBucket& bucket, const std::vector<TapeEntry>& tape) {
  AscendDevice& device = launcher_.device();
  const acl::RuntimeFunctions& rt = device.rt();
  const bool repeatable = std::all_of(tape.begin(), tape.end(), [](const TapeEntry& entry) {
    return entry.call == nullptr || entry.call->repeatable();
  });
  if (!repeatable) {
    why_ = "an operator's executor cannot be used again";
    return;
  }
  Graph graph;
  try {
    device.synchronize();
    device.check(rt.aclmdlRICaptureBegin(device.stream(), acl::kCaptureThreadLocal), "aclmdlRICaptureBegin");
  } catch (const Error& error) {
    why_ = error.what();
    return;
  }
  try {
    record(tape, graph);
  } catch (const Error& error) {
    why_ = error.what();
  }
  const int status = rt.aclmdlRICaptureEnd(device.stream(), &graph.model);
  if (status != 0 && why_.empty())
    why_ = "aclmdlRICaptureEnd failed with " + std::to_string(status) + ": " + status_meaning(status) +
           ". CANN says: " + recent_message(rt);
  recent_message(rt);
  if (why_.empty())
    graphs_.emplace(bucket, std::move(graph));
  else if (status == 0 && graph.model != nullptr)
    rt.aclmdlRIDestroy(graph.model);
}

acl::aclrtEvent StepGraphs::updated() {
  AscendDevice& device = launcher_.device();
  if (updated_ == nullptr)
    device.check(device.rt().aclrtCreateEventExWithFlag(&updated_, acl::kEventSync),
                 "aclrtCreateEventExWithFlag");
  return updated_;
}

// False where the work memory is too small, and has grown: the graphs are gone.
bool StepGraphs::update(const Graph& graph, const StepBucket& bucket, const AscendAttention& attention,
                        const StepBuffers& buffers) {
  AscendDevice& device = launcher_.device();
  const acl::RuntimeFunctions& rt = device.rt();
  const acl::aclrtStream side = device.update_stream();
  updates_.clear();
  for (const Group& group : graph.groups) {
    if (updates_.empty() || !updates_.back()->repeatable())
      updates_.push_back(attention.plan_for(buffers, bucket.rows, group.addresses));
    Call& call = *updates_.back();
    if (call.workspace_bytes() > launcher_.workspace().bytes()) {
      launcher_.workspace().need(call.workspace_bytes());
      return false;
    }
    device.check(rt.aclmdlRICaptureTaskUpdateBegin(side, group.handle), "aclmdlRICaptureTaskUpdateBegin");
    try {
      if (call.repeatable()) call.rebind(group.addresses);
      call.launch(launcher_.workspace(), side);
    } catch (const Error&) {
      rt.aclmdlRICaptureTaskUpdateEnd(side);
      throw;
    }
    device.check(rt.aclmdlRICaptureTaskUpdateEnd(side), "aclmdlRICaptureTaskUpdateEnd");
  }
  device.check(rt.aclrtRecordEvent(updated(), side), "aclrtRecordEvent");
  device.check(rt.aclrtStreamWaitEvent(device.stream(), updated()), "aclrtStreamWaitEvent");
  return true;
}

bool StepGraphs::replay(const StepBucket& bucket, const AscendAttention& attention,
                        const StepBuffers& buffers) {
  AscendDevice& device = launcher_.device();
  const Graph& graph = graphs_.at(bucket);
  try {
    if (!update(graph, bucket, attention, buffers)) return false;
  } catch (const Error& error) {
    // Nothing of the step has run. If the device is well, only this way of running it is not.
    device.ensure_alive();
    recent_message(device.rt());
    why_ = error.what();
    clear();
    return false;
  }
  device.busy();
  device.check(device.rt().aclmdlRIExecuteAsync(graph.model, device.stream()), "aclmdlRIExecuteAsync");
  return true;
}

}  // namespace agentinfer
