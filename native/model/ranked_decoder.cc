#include "model/ranked_decoder.h"

#include <atomic>
#include <string>

#include "tensor/check.h"

namespace agentinfer {
namespace {

// Progress of several loaders as one, and one loader's failure as everybody's.
class SharedProgress {
 public:
  SharedProgress(const LoadOptions& load, Rendezvous& rendezvous, int ranks)
      : load_(load), rendezvous_(rendezvous), ranks_(static_cast<size_t>(ranks)) {}

  LoadOptions of_rank(int rank) {
    LoadOptions options = load_;
    options.on_progress = [this, rank, before = size_t{0}](size_t done, size_t total) mutable {
      rendezvous_.check();
      const size_t all = done_.fetch_add(done - before, std::memory_order_relaxed) + (done - before);
      before = done;
      if (rank == 0 && load_.on_progress) load_.on_progress(all / ranks_, total);
    };
    return options;
  }

 private:
  const LoadOptions& load_;
  Rendezvous& rendezvous_;
  const size_t ranks_;
  std::atomic<size_t> done_{0};  // bytes, all ranks
};

}  // namespace

RankedDecoder::RankedDecoder(const ModelConfig& config, const Checkpoint& checkpoint, RankDevices& devices,
                             const LoadOptions& load, const DecoderOptions& options, const WeightsLook& look)
    : devices_(devices), ranks_(static_cast<size_t>(devices.size())), threads_(devices.rendezvous()) {
  try {
    open(config, checkpoint, load, options, look);
  } catch (...) {
    close();
    throw;
  }
}

RankedDecoder::~RankedDecoder() {
  close();
}

void RankedDecoder::open(const ModelConfig& config, const Checkpoint& checkpoint, const LoadOptions& load,
                         const DecoderOptions& options, const WeightsLook& look) {
  SharedProgress progress(load, devices_.rendezvous(), size());
  threads_.run([&](int index) {
    Rank& rank = ranks_[static_cast<size_t>(index)];
    rank.backend = devices_.open(index);
    rank.group = devices_.join(index, *rank.backend);
    rank.weights = load_weights(config, checkpoint, *rank.backend, *rank.group, progress.of_rank(index));
    if (look) look(index, rank.weights, *rank.backend, *rank.group);
    rank.decoder = std::make_unique<Decoder>(config, rank.weights, *rank.backend, *rank.group, options);
  });
  if (size() > 1 && load.on_progress) load.on_progress(checkpoint.total_bytes(), checkpoint.total_bytes());
}

void RankedDecoder::close() noexcept {
  devices_.rendezvous().reset();  // a failed group still has to be taken down, on its ranks' threads
  try {
    threads_.run([this](int index) {
      Rank& rank = ranks_[static_cast<size_t>(index)];
      rank.decoder.reset();
      rank.weights = Weights{};
      rank.group.reset();
      rank.backend.reset();
    });
  } catch (const std::exception&) {  // destructors do not throw
  }
}

void RankedDecoder::forward(const StepInputs& inputs, const LogitsSink& sink) {
  if (size() == 1) return ranks_.front().decoder->forward(inputs, sink);
  const LogitsSink nowhere = [](int, int, const Activation&) {};
  try {
    threads_.run([&](int index) {
      Rank& rank = ranks_[static_cast<size_t>(index)];
      make_moves(*rank.decoder);
      rank.decoder->forward(inputs, index == 0 ? sink : nowhere);
      if (index != 0) rank.backend->synchronize();  // the inputs are the caller's again behind this
    });
  } catch (const Error& error) {
    moves_.clear();
    if (error.code() != ErrorCode::kDevice && !devices_.recover())
      fail(ErrorCode::kDevice, error.what(), "; the group of ", size(), " ranks is lost with it");
    throw;
  }
  moves_.clear();
}

// Every rank does these before anything else of a step. Should one fail, the ranks' caches differ: nothing
// can be run any more.
void RankedDecoder::make_moves(Decoder& decoder) const {
  try {
    for (const Move& move : moves_) {
      if (move.kind == MoveKind::kCopy) decoder.copy_block(move.from, move.to);
      if (move.kind == MoveKind::kToHost) decoder.block_to_host(move.from, move.to);
      if (move.kind == MoveKind::kFromHost) decoder.block_from_host(move.from, move.to);
    }
  } catch (const Error& error) {
    fail(ErrorCode::kDevice, error.what());
  }
}

void RankedDecoder::move(const Move& move) {
  moves_.push_back(move);
  if (size() > 1) return;
  make_moves(*ranks_.front().decoder);
  moves_.clear();
}

void RankedDecoder::copy_block(int32_t from, int32_t to) {
  move({MoveKind::kCopy, from, to});
}
void RankedDecoder::block_to_host(int32_t block, int32_t host_block) {
  move({MoveKind::kToHost, block, host_block});
}
void RankedDecoder::block_from_host(int32_t host_block, int32_t block) {
  move({MoveKind::kFromHost, host_block, block});
}

size_t RankedDecoder::weight_bytes() const {
  size_t bytes = 0;
  for (const Rank& rank : ranks_) bytes += rank.weights.bytes;
  return bytes;
}

size_t RankedDecoder::kv_bytes() const {
  size_t bytes = 0;
  for (const Rank& rank : ranks_) bytes += rank.decoder->cache().bytes;
  return bytes;
}

size_t RankedDecoder::workspace_bytes() const {
  size_t bytes = 0;
  for (const Rank& rank : ranks_) bytes += rank.decoder->workspace_bytes();
  return bytes;
}

}  // namespace agentinfer
