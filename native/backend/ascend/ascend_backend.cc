#include "backend/ascend/ascend_backend.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "backend/ascend/attention.h"
#include "backend/ascend/graphs.h"
#include "backend/ascend/launcher.h"
#include "backend/ascend/objects.h"
#include "backend/ascend/products.h"
#include "backend/ascend/results.h"
#include "backend/ascend/step_buffers.h"
#include "backend/ascend/upload.h"
#include "tensor/check.h"
#include "tensor/dtype.h"

namespace agentinfer {
namespace {

constexpr size_t kFirstWorkspace = size_t{1} << 20;  // grows in the first steps to what the operators ask for

template <typename To, typename From>
To& as(From& from) {
  return static_cast<To&>(from);
}

class AscendBackendImpl final : public AscendBackend {
 public:
  explicit AscendBackendImpl(const AscendOptions& options)
      : want_graphs_(options.graphs),
        device_(cann(), options.device, options.timeout_ms),
        launcher_(device_, kFirstWorkspace),
        uploader_(device_, options.nz),
        products_(launcher_),
        results_(launcher_) {}

  AscendDevice& device() override { return device_; }
  std::string soc() const override {
    const char* name = device_.rt().aclrtGetSocName();
    return name == nullptr ? "" : name;
  }

  // --- objects

  std::unique_ptr<Linear> make_linear(const LinearSource& source) override {
    device_.ensure_alive();
    if (source.format == WeightFormat::kW8A8) products_.require_int8();
    auto made = uploader_.linear(source);
    products_.expect(*made);
    return made;
  }
  std::unique_ptr<Vector> make_vector(const Slice& source) override {
    device_.ensure_alive();
    return uploader_.vector(source);
  }
  std::unique_ptr<Embedding> make_embedding(const Slice& source) override {
    device_.ensure_alive();
    auto made = uploader_.embedding(source);
    remember_part(*made);
    return made;
  }
  std::unique_ptr<Embedding> make_tied_embedding(const Linear& head, int64_t first_row,
                                                 int64_t vocabulary) override {
    const auto& linear = static_cast<const AscendLinear&>(head);
    ensure(linear.format == WeightFormat::kBF16, "a tied embedding needs a 16-bit head");
    auto made = std::make_unique<AscendEmbedding>();
    made->rows = head.out_features;
    made->cols = head.in_features;
    made->first_row = first_row;
    made->vocabulary = vocabulary;
    made->table = linear.weights.get();
    if (linear.nz) {  // rows are looked up in a copy that has them in order
      made->values = products_.rows_of_nz(linear);
      made->table = made->values.get();
      made->bytes = made->values.bytes();
    }
    remember_part(*made);
    return made;
  }

  std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols, Feeds feeds) override {
    device_.ensure_alive();
    auto made = std::make_unique<AscendActivation>();
    made->max_rows = max_rows;
    made->cols = cols;
    const auto count = static_cast<size_t>(max_rows * cols);
    made->values = DeviceMemory(device_, count * 2, "activations");
    made->home = made->values.get();
    if (feeds == Feeds::kLinear && products_.quantizes(cols)) {
      made->quantized = DeviceMemory(device_, count, "quantised activations");
      made->scales =
          DeviceMemory(device_, static_cast<size_t>(max_rows) * sizeof(float), "quantised activations");
    }
    products_.reserve_rows(max_rows, cols);
    made->bytes = made->values.bytes() + made->quantized.bytes() + made->scales.bytes();
    return made;
  }

  std::unique_ptr<KvCache> make_kv_cache(const KvLayout& layout, int blocks, int host_blocks) override {
    if (layout.block_size != kAscendBlock)
      fail(ErrorCode::kInvalidArgument, "block size: an NPU takes ", kAscendBlock, ", got ",
           layout.block_size);
    if (dtype_size(layout.dtype) != 2)
      fail(ErrorCode::kInvalidArgument, "an NPU keeps KV in bf16; kvDtype 'f32' is for the CPU");
    auto made = std::make_unique<AscendKvCache>();
    made->layout = layout;
    made->blocks = blocks;
    made->host_blocks = host_blocks;
    made->piece = static_cast<size_t>(layout.block_size) * static_cast<size_t>(layout.kv_heads) *
                  static_cast<size_t>(layout.head_dim) * 2;
    const size_t bytes = made->piece * static_cast<size_t>(blocks);
    for (int layer = 0; layer < layout.layers; ++layer) {
      made->parts.push_back(
          {DeviceMemory(device_, bytes, "KV cache"), DeviceMemory(device_, bytes, "KV cache")});
      // A masked position still enters the weighted sum with weight zero: what was never written must not
      // hold NaN.
      made->parts.back().k.zero();
      made->parts.back().v.zero();
      made->bytes += 2 * bytes;
    }
    made->host_bytes =
        made->piece * 2 * static_cast<size_t>(layout.layers) * static_cast<size_t>(host_blocks);
    if (host_blocks > 0) made->host_memory = PinnedMemory(device_, made->host_bytes, "KV on the host");
    device_.synchronize();
    return made;
  }

  size_t prepare(const StepShape& shape, const AttentionShape& attention, const RopeTable& rope) override {
    uploader_.finish();
    // Of a decoder before this one.
    if (graphs_) graphs_->clear();
    launcher_.cache().clear();
    products_.forget();
    results_.forget();
    buffers_.emplace(device_, shape);
    if (part_rows_ != 0) buffers_->set_part(part_first_, part_rows_);
    attention_.emplace(launcher_, shape, attention, rope);
    graphs_.emplace(launcher_, want_graphs_ && attention_->takes_padding());
    shape_ = shape;
    return buffers_->bytes() + attention_->bytes();  // what operators ask for comes with the first steps
  }

  // --- step

  void begin_step(const StepInputs& inputs, KvCache& cache) override {
    launcher_.take_tape();  // of a step that failed
    launcher_.record(false);
    launcher_.skip(false);
    device_.synchronize();  // the staging buffer is about to be written
    launcher_.cache().trim();
    inputs_ = inputs;
    cache_ = &as<AscendKvCache>(cache);
    bucket_ = graphs_->usable() ? bucket_for(inputs, shape_) : std::nullopt;
    padded_rows_ = bucket_ ? bucket_->rows : step_rows();
    StepBuffers::Padding padding;
    if (bucket_)
      padding = {.sequences = bucket_->sequences - static_cast<int>(inputs.sequences.size()),
                 .rows = bucket_->rows - step_rows()};
    buffers_->fill(inputs, cache.blocks, padding);
    replayed_ = false;
    recording_ = bucket_.has_value();
    if (bucket_ && graphs_->has(*bucket_)) {
      attention_->attend(*cache_);
      replayed_ = graphs_->replay(*bucket_, *attention_, *buffers_);
      recording_ = !replayed_;
    }
    launcher_.skip(replayed_);
    launcher_.record(recording_);
    attention_->begin_step(*buffers_, *cache_, padded_rows_);
  }

  void embed(const Embedding& table, Activation& out) override {
    for (int32_t token : inputs_.tokens)
      ensure(token >= 0 && token < table.vocabulary, "token ", token, " outside a vocabulary of ",
             table.vocabulary);
    const bool whole = table.rows == table.vocabulary;
    products_.embed(static_cast<const AscendEmbedding&>(table),
                    whole ? buffers_->tokens() : buffers_->local_tokens(), padded_rows_,
                    as<AscendActivation>(out));
  }
  void rms_norm(const Activation& x, const Vector& weight, float eps, int count, Activation& out) override {
    products_.rms_norm(read(x), as<const AscendVector>(weight), eps, padded(count),
                       as<AscendActivation>(out));
  }
  void add_rms_norm(Activation& residual, const Activation& x, const Vector& weight, float eps, int count,
                    Activation& out) override {
    products_.add_rms_norm(as<AscendActivation>(residual), read(x), as<const AscendVector>(weight), eps,
                           padded(count), as<AscendActivation>(out));
  }
  void add(Activation& residual, const Activation& x, int count) override {
    products_.add(as<AscendActivation>(residual), read(x), padded(count));
  }
  void linear(const Activation& x, const Linear& weight, int count, Activation& out) override {
    ensure(x.cols == weight.in_features && out.cols == weight.out_features, "product of ", weight.in_features,
           " to ", weight.out_features, " applied to ", x.cols, " to ", out.cols);
    products_.linear(read(x), static_cast<const AscendLinear&>(weight), padded(count),
                     as<AscendActivation>(out));
  }
  void swiglu(const Activation& gate_up, int count, Activation& out) override {
    products_.swiglu(read(gate_up), padded(count), as<AscendActivation>(out));
  }
  void write_kv(int layer, Activation& qkv, const Vector* q_norm, const Vector* k_norm, float eps) override {
    attention_->write_kv(layer, read(qkv), q_norm, k_norm, eps);
  }
  void attention(int layer, const Activation&, Activation& out) override {
    auto& to = as<AscendActivation>(out);
    attention_->run(layer, to);
    to.written(padded_rows_);
  }
  void gather_rows(const Activation& x, int first, int count, Activation& out) override {
    products_.gather(read(x), padded_rows_, buffers_->logit_rows(first), padded(count),
                     as<AscendActivation>(out));
  }

  // --- results

  std::span<const float> logits(const Activation& values, int row) override {
    finish();
    return results_.row(read(values), row);
  }
  std::span<const float> top_logits(const Activation& values, int row, int count) override {
    finish();
    return results_.top(read(values), row, count);
  }
  void argmax(const Activation& values, int count, std::span<int32_t> out) override {
    finish();
    results_.argmax(read(values), count, out);
  }
  void synchronize() override {
    finish();
    device_.synchronize();
  }

  void write_rows(Activation& x, std::span<const float> values, int count) override {
    ensure(count <= x.max_rows && values.size() == static_cast<size_t>(count * x.cols), values.size(),
           " values for ", count, " rows of ", x.cols);
    auto& to = as<AscendActivation>(x);
    PinnedMemory staging(device_, values.size() * 2, "rows");
    for (size_t i = 0; i < values.size(); ++i) staging.as<uint16_t>()[i] = bf16_from_f32(values[i]);
    copy_to_device(device_, to.values.get(), staging.get(), values.size() * 2);
    device_.synchronize();
    to.written(count);
  }

  // --- collectives

  acl::Rows rows(Activation& x, int count) override {
    auto& values = as<AscendActivation>(x);
    const int rows = padded(count);
    products_.need_plain(values, rows);
    values.written(rows);
    return {.at = values.values.get(), .count = static_cast<size_t>(rows * x.cols)};
  }
  void enqueue(std::function<void(acl::aclrtStream)> work) override { launcher_.run(std::move(work)); }
  void* gather_room(size_t count) override {
    if (gathered_.bytes() < count * 2) {
      if (graphs_) graphs_->clear();
      device_.synchronize();
      gathered_ = DeviceMemory(device_, count * 2, "gathered logits");
    }
    return gathered_.get();
  }
  void interleave(const void* parts, int ranks, int count, int64_t cols, Activation& out) override {
    products_.interleave(parts, ranks, padded(count), cols, as<AscendActivation>(out));
  }

  // --- KV blocks

  void copy_block(KvCache& cache, int32_t from, int32_t to) override {
    auto& kv = as<AscendKvCache>(cache);
    for (AscendKvCache::Layer& layer : kv.parts)
      for (DeviceMemory* part : {&layer.k, &layer.v})
        copy_on_device(device_, part->at(kv.offset(to)), part->at(kv.offset(from)), kv.piece);
  }
  // In stream order, so behind the steps before and ahead of the steps after.
  void block_to_host(KvCache& cache, int32_t block, int32_t host_block) override {
    auto& kv = as<AscendKvCache>(cache);
    for (size_t layer = 0; layer < kv.parts.size(); ++layer) {
      copy_to_host(device_, kv.host_piece(host_block, layer, 0), kv.parts[layer].k.at(kv.offset(block)),
                   kv.piece);
      copy_to_host(device_, kv.host_piece(host_block, layer, 1), kv.parts[layer].v.at(kv.offset(block)),
                   kv.piece);
    }
  }
  void block_from_host(KvCache& cache, int32_t host_block, int32_t block) override {
    auto& kv = as<AscendKvCache>(cache);
    for (size_t layer = 0; layer < kv.parts.size(); ++layer) {
      copy_to_device(device_, kv.parts[layer].k.at(kv.offset(block)), kv.host_piece(host_block, layer, 0),
                     kv.piece);
      copy_to_device(device_, kv.parts[layer].v.at(kv.offset(block)), kv.host_piece(host_block, layer, 1),
                     kv.piece);
    }
  }

 private:
  static const AscendActivation& read(const Activation& x) { return static_cast<const AscendActivation&>(x); }
  int step_rows() const { return static_cast<int>(inputs_.tokens.size()); }

  // Rows of an operation: those of the step become those of its shape.
  int padded(int count) const { return count == step_rows() ? padded_rows_ : count; }

  // All of the step has been put on the stream: what follows is not part of a graph.
  void finish() {
    launcher_.skip(false);
    if (!recording_) return;
    recording_ = false;
    launcher_.record(false);
    const std::vector<TapeEntry> tape = launcher_.take_tape();
    if (graphs_->usable()) graphs_->capture(*bucket_, tape);
  }

  void remember_part(const Embedding& table) {
    if (table.rows == table.vocabulary) return;
    part_first_ = table.first_row;
    part_rows_ = table.rows;
    if (buffers_) buffers_->set_part(part_first_, part_rows_);
  }

  const bool want_graphs_;
  // Destroyed in reverse order: what holds memory or executors before the device.
  AscendDevice device_;
  Launcher launcher_;
  Uploader uploader_;
  AscendProducts products_;
  AscendResults results_;
  std::optional<StepBuffers> buffers_;
  std::optional<AscendAttention> attention_;
  std::optional<StepGraphs> graphs_;
  DeviceMemory gathered_;  // parts of the logits, rank by rank
  StepShape shape_;
  int64_t part_first_ = 0, part_rows_ = 0;  // of the vocabulary, on a rank that has a part
  StepInputs inputs_;
  // Of the step: the shape it is padded to, if any; the rows of that shape; whether a graph does it, or it is
  // being written down for one.
  std::optional<StepBucket> bucket_;
  int padded_rows_ = 0;
  bool replayed_ = false, recording_ = false;
  AscendKvCache* cache_ = nullptr;  // of the step
};

}  // namespace

std::unique_ptr<AscendBackend> make_ascend_backend(const AscendOptions& options) {
  return std::make_unique<AscendBackendImpl>(options);
}

std::vector<int> npu_devices(const std::string& device) {
  const auto wrong = [&]() {
    fail(ErrorCode::kInvalidArgument, "device: expected 'npu:0' or 'npu:0,1,...', got '", device, "'");
  };
  if (device.rfind("npu:", 0) != 0) wrong();
  std::vector<int> numbers;
  const char* at = device.data() + 4;
  const char* const end = device.data() + device.size();
  while (true) {
    int number = -1;
    const auto [next, status] = std::from_chars(at, end, number);
    if (status != std::errc() || number < 0 || number > 1023) wrong();
    if (std::find(numbers.begin(), numbers.end(), number) != numbers.end()) wrong();
    numbers.push_back(number);
    if (next == end) return numbers;
    if (*next != ',') wrong();
    at = next + 1;
  }
}

}  // namespace agentinfer
