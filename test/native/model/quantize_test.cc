#include "model/quantize.h"

#include <cmath>

#include "check.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/tensor_names.h"
#include "temp_folder.h"
#include "tensor/quantize_row.h"
#include "tensor/safetensors_writer.h"

namespace agentinfer {
namespace {

namespace fs = std::filesystem;

fs::path fixture(const char* name) {
  return fs::path(AGENTINFER_FIXTURES) / "checkpoints" / name;
}

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> out(static_cast<size_t>(tensor.elements()));
  read_floats(tensor, 0, out);
  return out;
}

std::string bytes_of(const TensorView& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()};
}

// Everything that quantising promises about tensors.
void check_quantized(const fs::path& source, const fs::path& target) {
  const ModelConfig config = read_model_config(target);
  CHECK(config.quantized_w8a8);
  const Checkpoint before(source), after(target);
  check_tensors(config, after);
  for (const std::string& name : before.names()) {
    const TensorView &old = *before.find(name), &made = *after.find(name);
    CHECK(old.shape == made.shape);
    if (!name.ends_with("_proj.weight")) {
      CHECK(old.dtype == made.dtype && bytes_of(old) == bytes_of(made));
      continue;
    }
    CHECK(made.dtype == DType::kI8);
    const std::vector<float> values = floats_of(old), scales = floats_of(*after.find(name + "_scale"));
    const auto cols = static_cast<size_t>(old.shape[1]);
    for (size_t i = 0; i < values.size(); ++i) {
      const double scale = scales[i / cols];
      CHECK(std::fabs(values[i] - static_cast<int8_t>(made.data[i]) * scale) <= 0.5001 * scale);
    }
  }
}

TEST("every fixture becomes an int8 folder that opens, whatever the shards and threads") {
  const check::TempFolder work;
  int made = 0;
  for (const char* name :
       {"llama", "llama-tied", "qwen2", "qwen3", "pangu", "pangu-sandwich", "pangu-sharded"}) {
    const auto quantize = [&](const std::string& target, uint64_t shard, int threads) {
      QuantizeOptions options;
      options.max_shard_bytes = shard;
      options.threads = threads;
      const QuantizeResult result = quantize_folder(fixture(name), work / target, options);
      CHECK_EQ(result.matrices, 21);  // 7 in each of 3 layers
      check_quantized(fixture(name), work / target);
      return result;
    };
    const std::string whole = name + std::string("-whole"), parts = name + std::string("-parts");
    CHECK_EQ(quantize(whole, uint64_t{4} << 30, 1).files, 1);
    CHECK(quantize(parts, 20000, 3).files > 3);
    const Checkpoint a(work / whole), b(work / parts);
    CHECK(a.names() == b.names());
    for (const std::string& tensor : a.names()) CHECK(bytes_of(*a.find(tensor)) == bytes_of(*b.find(tensor)));
    ++made;
  }
  CHECK_EQ(made, 7);
}

TEST("side files go along, weights in other formats and folders do not, and the config keeps its text") {
  const check::TempFolder work;
  fs::copy(fixture("pangu"), work / "in");
  work.write("in/chat_template.jinja", "{{ x }}");
  work.write("in/LICENSE", "terms");
  work.write("in/pytorch_model.bin", "pickle");
  work.write("in/.hidden", "x");
  fs::create_directory(work / "in" / "sub");
  work.write("in/sub/file", "x");
  fs::create_symlink(work / "in" / "LICENSE", work / "in" / "NOTICE");
  quantize_folder(work / "in", work / "out", {});
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(work / "out")) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  for (const char* name :
       {"LICENSE", "NOTICE", "chat_template.jinja", "generation_config.json", "tokenizer.model"})
    CHECK(check::read_file(work / "out" / name) == check::read_file(work / "in" / name));
  for (const char* name : {"pytorch_model.bin", ".hidden", "sub", "model.safetensors.index.json"})
    CHECK(std::find(names.begin(), names.end(), name) == names.end());
  const std::string before = check::read_file(work / "in" / "config.json"),
                    after = check::read_file(work / "out" / "config.json");
  CHECK(after.ends_with(before.substr(1)));
  CHECK(!fs::is_symlink(work / "out" / "NOTICE"));
}

TEST("progress rises to the whole, on the calling thread; an abort leaves nothing behind") {
  const check::TempFolder work;
  QuantizeOptions options;
  size_t last = 0, total = 0;
  options.on_progress = [&](size_t done, size_t all) {
    CHECK(done > last && done <= all);
    last = done;
    total = all;
  };
  const QuantizeResult result = quantize_folder(fixture("llama"), work / "out", options);
  CHECK_EQ(last, total);
  CHECK_EQ(total, result.source_bytes);
  std::atomic<bool> aborted{false};
  int calls = 0;
  options.on_progress = [&](size_t, size_t) { aborted = ++calls == 5; };
  options.aborted = &aborted;
  CHECK_THROWS(quantize_folder(fixture("llama"), work / "second", options), ErrorCode::kAborted, "aborted");
  CHECK_EQ(calls, 5);
  CHECK_EQ(std::distance(fs::directory_iterator(work.path()), fs::directory_iterator()), 1);
}

TEST("what exists is never touched, what is wrong is refused, and no partial folder stays") {
  const check::TempFolder work;
  const auto quantize = [&](const fs::path& source, const char* target) {
    return quantize_folder(source, work / target, {});
  };
  fs::create_directory(work / "empty");
  CHECK_THROWS(quantize(fixture("llama"), "empty"), ErrorCode::kInvalidArgument, "exists already");
  CHECK_THROWS(quantize(fixture("llama"), "empty/"), ErrorCode::kInvalidArgument, "exists already");
  fs::create_symlink(work / "nowhere", work / "link");
  CHECK_THROWS(quantize(fixture("llama"), "link"), ErrorCode::kInvalidArgument, "exists already");
  CHECK_THROWS(quantize(fixture("llama"), "absent/out"), ErrorCode::kIo, "absent");
  CHECK_THROWS(quantize(work / "none", "out"), ErrorCode::kIo, "config.json");
  quantize(fixture("llama"), "int8");
  CHECK_THROWS(quantize(work / "int8", "out"), ErrorCode::kInvalidArgument, "int8 weights already");
  fs::copy(fixture("llama"), work / "in");
  const std::string config = check::read_file(work / "in" / "config.json");
  work.write("in/config.json", "{\"agentinfer\": null, " + config.substr(1));
  CHECK_THROWS(quantize(work / "in", "out"), ErrorCode::kModelInvalid, "occurs twice");
  std::string biased = config;
  const std::string flag = "\"attention_bias\": false";
  biased.replace(biased.find(flag), flag.size(), "\"attention_bias\": true");
  work.write("in/config.json", biased);
  CHECK_THROWS(quantize(work / "in", "out"), ErrorCode::kModelInvalid, "self_attn.q_proj.bias");
  CHECK(!fs::exists(work / "out"));
  for (const auto& entry : fs::directory_iterator(work.path()))
    CHECK(entry.path().string().find("partial") == std::string::npos);
}

TEST("a weight that is not finite is refused with its tensor and row; a zero row becomes zeros") {
  const check::TempFolder work;
  fs::copy(fixture("qwen2"), work / "in");  // stored in F32
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const std::string original = check::read_file(work / "in" / "model.safetensors");
  const auto with_row = [&](int64_t row, float value) {
    const SafetensorsFile file(fixture("qwen2") / "model.safetensors");
    const TensorView& tensor = *file.find(name);
    std::string text = original;
    const auto at = static_cast<size_t>(tensor.data.data() - file.file().bytes().data()) +
                    static_cast<size_t>(row * tensor.shape[1]) * 4;
    for (size_t i = 0; i < static_cast<size_t>(tensor.shape[1]); ++i)
      std::memcpy(text.data() + at + 4 * i, &value, 4);
    work.write("in/model.safetensors", text);
  };
  with_row(17, NAN);
  CHECK_THROWS(quantize_folder(work / "in", work / "out", {}), ErrorCode::kModelInvalid,
               "model.layers.1.mlp.up_proj.weight: row 17 holds a value that is not finite");
  with_row(95, 0);
  quantize_folder(work / "in", work / "out", {});
  const Checkpoint made(work / "out");
  CHECK_EQ(floats_of(*made.find(name + "_scale"))[95], 0.0f);
  CHECK(bytes_of(*made.find(name)).ends_with(std::string(64, '\0')));
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
