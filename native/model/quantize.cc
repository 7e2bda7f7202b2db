#include "model/quantize.h"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"
#include "model/folder_writer.h"
#include "model/quantize_rows.h"
#include "model/tensor_names.h"
#include "tensor/check.h"
#include "tensor/mapped_file.h"
#include "tensor/safetensors_writer.h"

namespace agentinfer {

namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 16 << 20;    // of source, between looks at `aborted`
constexpr uint64_t kSpareBytes = 64 << 20;  // room for side files and headers

// One source tensor and what becomes of it: tensors `output` and, for a matrix, `output + 1` (the scales).
struct Task {
  const TensorView* source = nullptr;
  bool matrix = false;
};

class Quantizer {
 public:
  Quantizer(const fs::path& source, const QuantizeOptions& options)
      : source_(source), options_(options), config_(read_model_config(source)), checkpoint_(source) {
    if (config_.quantized_w8a8)
      fail(ErrorCode::kInvalidArgument, source.string(),
           ": holds int8 weights already; expected a 16-bit model");
    check_tensors(config_, checkpoint_);
    for (const ExpectedTensor& expected : expected_tensors(config_)) {
      const TensorView* const tensor = checkpoint_.find(expected.name);
      if (tensor) add(*tensor, expected.role == TensorRole::kMatrix);
    }
    read_config_text();
    threads_ = options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
    result_.source_bytes = checkpoint_.total_bytes();
  }

  QuantizeResult run(const fs::path& target) {
    for (const TensorSpec& output : outputs_) result_.written_bytes += output.bytes();
    PendingFolder folder(target, result_.written_bytes + kSpareBytes);
    const std::vector<std::vector<TensorSpec>> shards =
        plan_shards(outputs_, std::max<uint64_t>(options_.max_shard_bytes, 1));
    result_.files = static_cast<int>(shards.size());
    task_ = 0;
    for (size_t i = 0; i < shards.size(); ++i)
      write_shard(folder.path() / shard_name(i, shards.size()), shards[i]);
    if (shards.size() > 1) folder.write_text("model.safetensors.index.json", shard_index_text(shards));
    folder.copy_side_files(source_);
    folder.write_text("config.json", config_text_);
    folder.commit();
    return result_;
  }

 private:
  void add(const TensorView& tensor, bool matrix) {
    tasks_.push_back({&tensor, matrix});
    outputs_.push_back({tensor.name, matrix ? DType::kI8 : tensor.dtype, tensor.shape});
    if (!matrix) return;
    tasks_.push_back({});  // its scales, written with it
    outputs_.push_back({tensor.name + "_scale", DType::kF32, {tensor.shape[0]}});
    ++result_.matrices;
  }

  // A shard border may fall between a matrix and its scales: these are kept until their own turn.
  void write_shard(const fs::path& path, const std::vector<TensorSpec>& tensors) {
    SafetensorsWriter writer(path, tensors, {{"format", "pt"}});
    for (size_t i = 0; i < tensors.size(); ++i, ++task_) {
      const Task& task = tasks_[task_];
      if (!task.source) {
        writer.write(i, std::as_bytes(std::span(scales_)));
      } else if (task.matrix) {
        write_matrix(writer, i, *task.source);
      } else {
        copy(writer, i, *task.source);
      }
    }
    writer.finish();
  }

  void copy(SafetensorsWriter& writer, size_t index, const TensorView& tensor) {
    for (size_t at = 0; at < tensor.data.size(); at += kPieceBytes) {
      const auto piece = tensor.data.subspan(at, std::min(kPieceBytes, tensor.data.size() - at));
      writer.write(index, piece);
      consumed(tensor, piece);
    }
  }

  void write_matrix(SafetensorsWriter& writer, size_t index, const TensorView& tensor) {
    const auto rows = static_cast<size_t>(tensor.shape[0]), cols = static_cast<size_t>(tensor.shape[1]);
    const size_t row_bytes = tensor.data.size() / rows;
    const size_t step = std::clamp<size_t>(kPieceBytes / row_bytes, 1, rows);
    scales_.resize(rows);
    levels_.resize(step * cols);
    for (size_t row = 0; row < rows; row += step) {
      const size_t count = std::min(step, rows - row);
      const auto levels = std::span(levels_).first(count * cols);
      quantize_rows(tensor, static_cast<int64_t>(row), levels, std::span(scales_).subspan(row, count),
                    threads_);
      writer.write(index, std::as_bytes(levels));
      consumed(tensor, tensor.data.subspan(row * row_bytes, count * row_bytes));
    }
  }

  void consumed(const TensorView& tensor, std::span<const std::byte> piece) {
    TensorView part;
    part.name = tensor.name;
    part.data = piece;
    checkpoint_.release(part);
    done_ += piece.size();
    if (options_.on_progress) options_.on_progress(done_, result_.source_bytes);
    if (options_.aborted && options_.aborted->load(std::memory_order_relaxed))
      fail(ErrorCode::kAborted, "quantising ", source_.string(), " was aborted");
  }

  // The text as it is, with one more key: nothing that we do not read is lost or reformatted.
  void read_config_text() {
    const MappedFile file(source_ / "config.json");
    config_text_.assign(reinterpret_cast<const char*>(file.bytes().data()), file.size());
    // It was parsed as an object that is not empty, so the first brace opens it and a member follows.
    config_text_.insert(config_text_.find('{') + 1,
                        "\n  \"agentinfer\": {\"quantization\": \"w8a8-dynamic\", \"version\": 1},");
    ensure(parse_model_config(config_text_, "").quantized_w8a8, "the new config.json does not say int8");
  }

  const fs::path source_;
  const QuantizeOptions& options_;
  const ModelConfig config_;
  const Checkpoint checkpoint_;
  std::string config_text_;
  int threads_ = 1;
  std::vector<Task> tasks_;  // one for each of outputs_
  std::vector<TensorSpec> outputs_;
  size_t task_ = 0;
  std::vector<float> scales_;  // of the newest matrix
  std::vector<int8_t> levels_;
  size_t done_ = 0;
  QuantizeResult result_;
};

}  // namespace

QuantizeResult quantize_folder(const fs::path& source, const fs::path& target,
                               const QuantizeOptions& options) {
  return Quantizer(source, options).run(target);
}

}  // namespace agentinfer
