#include "engine/first_layers.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "backend/cpu/cpu_backend.h"

namespace agentinfer {
namespace {

constexpr int64_t kVocabulary = 512;
constexpr int kCpuBlock = 16;

// Bytes of one layer on the CPU.
size_t layer_bytes(const ModelConfig& config, WeightFormat format) {
  const int64_t heads = config.num_attention_heads + config.num_key_value_heads;
  const int64_t elements = config.hidden_size * (2 * heads * config.head_dim + 3 * config.intermediate_size);
  return static_cast<size_t>(elements) * (format == WeightFormat::kW8A8 ? 1 : 2);
}

// Weights of a model's first layers, lent for a scope.
class Lent {
 public:
  Lent(Weights& all, int layers) : all_(all) {
    first_.head = std::move(all.head);
    first_.embedding = std::move(all.embedding);
    first_.final_norm = std::move(all.final_norm);
    const auto end = all.layers.begin() + layers;
    first_.layers.assign(std::make_move_iterator(all.layers.begin()), std::make_move_iterator(end));
  }
  ~Lent() {
    all_.head = std::move(first_.head);
    all_.embedding = std::move(first_.embedding);
    all_.final_norm = std::move(first_.final_norm);
    std::move(first_.layers.begin(), first_.layers.end(), all_.layers.begin());
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  const Weights& weights() const { return first_; }

 private:
  Weights& all_;
  Weights first_;
};

}  // namespace

FirstLayers::FirstLayers(const ModelConfig& config, const Checkpoint& checkpoint, WeightFormat format)
    : first_(config),
      format_(config.quantized_w8a8 ? WeightFormat::kW8A8 : format),
      vocabulary_(std::min(kVocabulary, config.vocab_size)) {
  const auto affordable =
      static_cast<int64_t>(kHostBytes / std::max<size_t>(layer_bytes(config, format_), 1));
  first_.num_hidden_layers =
      std::min(config.num_hidden_layers, std::clamp<int64_t>(affordable, 1, kMostLayers));
  // A vocabulary cut short reads the first rows of the embedding and of the head.
  ModelConfig on_cpu = first_;
  on_cpu.vocab_size = vocabulary_;
  const auto cpu = make_cpu_backend({.threads = 0, .isa = ""});
  SoloGroup group;
  const Weights weights =
      load_weights(on_cpu, checkpoint, *cpu, group, {.format = format_, .on_progress = {}});
  expected_ = self_check_logits(on_cpu, weights, *cpu, group, DType::kF32, kCpuBlock, vocabulary_);
}

void FirstLayers::check(int rank, Weights& weights, Backend& backend, Group& group, int block_size) {
  const Lent lent(weights, layers());
  const std::vector<float> got =
      self_check_logits(first_, lent.weights(), backend, group, DType::kBF16, block_size, vocabulary_);
  const std::string where = group.size() == 1 ? "" : "rank " + std::to_string(rank) + ": ";
  const SelfCheckResult mine = compare_logits(
      got, expected_, format_, where + "the model's first " + std::to_string(layers()) + " layers give");
  const std::lock_guard lock(mutex_);
  const bool worse = !mine.problem.empty() && result_.problem.empty();
  if (result_.allowed == 0 || worse ||
      (mine.problem.empty() == result_.problem.empty() && mine.worst > result_.worst))
    result_ = mine;
}

}  // namespace agentinfer
