#pragma once
// Captured steps. A decode or verification step is padded to the next of a few shapes, run once operator by
// operator while its calls are written down, then captured by issuing the same calls again; from then on the
// shape costs one launch and an update of each layer's attention, whose lengths are the only thing in it that
// comes from the host.
//
// Shapes: sequences 1, 2, 4, 8, then steps of 8; rows a sequence at most 1, 2, 4, 8 or 16. The rows that are
// missing belong to dummy sequences: they write no KV (slot -1) and read block 0.
//
// A graph holds addresses: of activations, weights and caches, which live as long as the decoder, and of the
// operators' work memory, whose move drops all graphs. Whatever cannot be captured here runs eagerly, for
// good; why() says what stood in the way.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/ascend/attention.h"
#include "backend/ascend/launcher.h"
#include "backend/ascend/step_buffers.h"

namespace agentinfer {

struct StepBucket {
  int rows = 0, sequences = 0;  // padding included
  auto operator<=>(const StepBucket&) const = default;
};

// The shape to pad a step to; nothing where it is none of a decode or a verification: more than 16 rows in a
// sequence, or rows without logits. `shape`: the room there is.
std::optional<StepBucket> bucket_for(const StepInputs& inputs, const StepShape& shape);

class StepGraphs {
 public:
  StepGraphs(Launcher& launcher, bool wanted);
  ~StepGraphs() { clear(); }
  StepGraphs(const StepGraphs&) = delete;

  bool usable() const { return why_.empty(); }
  const std::string& why() const { return why_; }
  bool has(const StepBucket& bucket) const { return graphs_.contains(bucket); }
  size_t size() const { return graphs_.size(); }

  // From what a step just put on the stream. Waits. Does not throw: without a graph the next such step is
  // eager too.
  void capture(const StepBucket& bucket, const std::vector<TapeEntry>& tape);
  // Queues the step whose inputs are in `buffers`. False where the graphs had to go: the work memory was too
  // small, or their attention cannot be updated here. Throws when the device fails.
  bool replay(const StepBucket& bucket, const AscendAttention& attention, const StepBuffers& buffers);
  // Waits and destroys. They are captured anew.
  void clear() noexcept;

 private:
  struct Group {  // one layer's attention
    acl::aclrtTaskGrp handle = nullptr;
    std::vector<const void*> addresses;
  };
  struct Graph {
    acl::aclmdlRI model = nullptr;
    std::vector<Group> groups;
  };
  void record(const std::vector<TapeEntry>& tape, Graph& graph);
  bool update(const Graph& graph, const StepBucket& bucket, const AscendAttention& attention,
              const StepBuffers& buffers);
  acl::aclrtEvent updated();

  Launcher& launcher_;
  std::string why_;
  std::map<StepBucket, Graph> graphs_;
  std::vector<std::unique_ptr<Call>> updates_;  // of the step under way
  acl::aclrtEvent updated_ = nullptr;           // recorded behind the updates
};

}  // namespace agentinfer
