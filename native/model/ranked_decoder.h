#pragma once
// A model on all the ranks of a group, used like one decoder: opens the devices, loads each rank's part of
// the weights in parallel, and runs every step on all ranks at once, rank 0 on the caller's thread.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/decoder.h"
#include "model/forward_pass.h"
#include "model/weights.h"
#include "parallel/rank_devices.h"
#include "parallel/rank_threads.h"

namespace agentinfer {

// Sees a rank's weights when they are loaded, on the rank's thread, on all ranks at once; the backend is not
// prepared yet. May use collectives. What it throws fails the opening.
using WeightsLook = std::function<void(int rank, Weights& weights, Backend& backend, Group& group)>;

class RankedDecoder final : public ForwardPass {
 public:
  // Everything of a rank is made, used and destroyed on its own thread; rank 0's is the caller's, here and in
  // all calls. `config` and `devices` are borrowed and outlive this; `checkpoint` is needed here only.
  // Progress is that of all ranks together, reported on the caller's thread. Throws what the loaders and the
  // devices throw, with the rank where there are several.
  RankedDecoder(const ModelConfig& config, const Checkpoint& checkpoint, RankDevices& devices,
                const LoadOptions& load, const DecoderOptions& options, const WeightsLook& look = {});
  ~RankedDecoder() override;
  RankedDecoder(const RankedDecoder&) = delete;
  RankedDecoder& operator=(const RankedDecoder&) = delete;

  // A failed step leaves the groups usable (then the error is what the first failing rank threw) or throws
  // kDevice: nothing can be run any more.
  void forward(const StepInputs& inputs, const LogitsSink& sink) override;
  // With several ranks these wait for the next forward(), which does them first.
  void copy_block(int32_t from, int32_t to) override;
  void block_to_host(int32_t block, int32_t host_block) override;
  void block_from_host(int32_t host_block, int32_t block) override;

  Backend& backend() override { return *ranks_.front().backend; }
  const DecoderOptions& options() const override { return ranks_.front().decoder->options(); }

  // Rank 0's, for its thread: what it would take to do its part alone can be measured there.
  Decoder& leader() { return *ranks_.front().decoder; }
  const Weights& leader_weights() const { return ranks_.front().weights; }

  int size() const { return static_cast<int>(ranks_.size()); }
  const Decoder& decoder(int rank) const { return *ranks_[static_cast<size_t>(rank)].decoder; }
  // Of all ranks together.
  size_t weight_bytes() const;
  size_t kv_bytes() const;
  size_t workspace_bytes() const;

 private:
  struct Rank {
    // Destroyed in reverse order, on the rank's thread.
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Group> group;
    Weights weights;
    std::unique_ptr<Decoder> decoder;
  };
  enum class MoveKind : uint8_t { kCopy, kToHost, kFromHost };
  struct Move {
    MoveKind kind;
    int32_t from, to;
  };

  void open(const ModelConfig& config, const Checkpoint& checkpoint, const LoadOptions& load,
            const DecoderOptions& options, const WeightsLook& look);
  void close() noexcept;
  void move(const Move& move);
  void make_moves(Decoder& decoder) const;

  RankDevices& devices_;
  std::vector<Rank> ranks_;
  std::vector<Move> moves_;  // of several ranks: not done yet
  RankThreads threads_;      // last: it uses everything above
};

}  // namespace agentinfer
