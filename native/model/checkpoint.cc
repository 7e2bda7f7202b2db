#include "model/checkpoint.h"

#include <algorithm>
#include <map>
#include <system_error>

#include "tensor/check.h"
#include "tensor/elements.h"
#include "tensor/json.h"

namespace agentinfer {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTensors = ".safetensors";
constexpr std::string_view kIndex = ".safetensors.index.json";
constexpr size_t kMaxIndexBytes = 256 << 20;

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view suffix) {
  std::error_code code;
  std::vector<fs::path> found;
  fs::directory_iterator entries(folder, code);
  if (code) fail(ErrorCode::kIo, folder.string(), ": cannot list the folder: ", code.message());
  for (const fs::directory_iterator end; entries != end; entries.increment(code)) {
    if (code) fail(ErrorCode::kIo, folder.string(), ": cannot list the folder: ", code.message());
    const std::string name = entries->path().filename().string();
    if (name.size() > suffix.size() && name.ends_with(suffix) && !name.starts_with('.'))
      found.push_back(entries->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

[[noreturn]] void fail_no_tensors(const fs::path& folder, size_t candidates) {
  if (candidates > 1)
    fail(ErrorCode::kModelInvalid, folder.string(), ": ", candidates,
         " .safetensors files and none of them is model.safetensors; expected model.safetensors.index.json "
         "beside them");
  if (!files_ending(folder, ".bin").empty() || !files_ending(folder, ".pth").empty())
    fail(ErrorCode::kModelUnsupported, folder.string(),
         ": holds PyTorch pickles only, which are programs rather than data; convert the model to "
         "safetensors");
  fail(ErrorCode::kModelInvalid, folder.string(), ": no .safetensors file in the folder");
}

// A shard is a file in the folder itself: whoever wrote the index must not choose what else we open.
void check_shard_name(const fs::path& index, std::string_view name) {
  const bool plain = name.size() > kTensors.size() && name.ends_with(kTensors) && !name.starts_with('.') &&
                     name.find_first_of(std::string_view("/\\:\0", 4)) == std::string_view::npos;
  if (!plain)
    fail(ErrorCode::kModelInvalid, index.string(), ": shard ", json_quote(name.substr(0, 200)),
         ": expected the name of a .safetensors file in the same folder");
}

// Tensor name -> shard name. Views borrow from the document.
std::map<std::string_view, std::string_view> read_weight_map(const fs::path& index,
                                                             const JsonDocument& document) {
  const Json* const weight_map = document.root().find("weight_map");
  if (!weight_map || !weight_map->is_object())
    fail(ErrorCode::kModelInvalid, index.string(), ": expected an object \"weight_map\", got ",
         weight_map ? weight_map->describe() : document.root().describe());
  std::map<std::string_view, std::string_view> result;
  for (const JsonMember& member : weight_map->members()) {
    if (!member.value.is_string())
      fail(ErrorCode::kModelInvalid, index.string(), ": tensor ", json_quote(member.key.substr(0, 200)),
           ": expected the name of a shard, got ", member.value.describe());
    check_shard_name(index, member.value.as_string());
    result.emplace(member.key, member.value.as_string());
  }
  if (result.empty()) fail(ErrorCode::kModelInvalid, index.string(), ": \"weight_map\" is empty");
  return result;
}

JsonDocument read_index(const fs::path& path) {
  const MappedFile file(path);
  if (file.size() > kMaxIndexBytes)
    fail(ErrorCode::kModelInvalid, path.string(), ": ", file.size(), " bytes; expected at most ",
         kMaxIndexBytes);
  return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, path.string());
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) fail(ErrorCode::kIo, folder.string(), ": expected a folder");
  const std::vector<fs::path> files = files_ending(folder, kTensors), indexes = files_ending(folder, kIndex);
  const fs::path single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  if (is_there(index)) {
    open_index(folder, index);
  } else if (is_there(single)) {
    add_file(single);
  } else if (indexes.size() == 1) {
    open_index(folder, indexes[0]);
  } else if (files.size() == 1 && indexes.empty()) {
    add_file(files[0]);
  } else {
    fail_no_tensors(folder, files.size());
  }
  for (const SafetensorsFile& shard : shards_)
    for (const TensorView& tensor : shard.tensors()) names_.push_back(tensor.name);
  std::sort(names_.begin(), names_.end());
  for (const SafetensorsFile& shard : shards_) {
    for (const TensorView& tensor : shard.tensors()) {
      tensors_.emplace(*std::lower_bound(names_.begin(), names_.end(), tensor.name), tensor);
      total_bytes_ += tensor.data.size();
    }
  }
  widen_scales();
}

void Checkpoint::add_file(const fs::path& path) {
  shards_.emplace_back(path);
}

void Checkpoint::open_index(const fs::path& folder, const fs::path& index) {
  const JsonDocument document = read_index(index);
  const auto weight_map = read_weight_map(index, document);
  std::map<std::string_view, size_t> listed;  // shard name -> tensors it should hold
  for (const auto& [tensor, shard] : weight_map) ++listed[shard];
  if (is_there(folder / "model.safetensors") && !listed.contains("model.safetensors"))
    fail(ErrorCode::kModelInvalid, folder.string(), ": holds both model.safetensors and ",
         index.filename().string(), ", which does not name it; remove the one that is out of date");
  for (const auto& [shard, count] : listed) {
    if (!is_there(folder / shard))
      fail(ErrorCode::kModelInvalid, index.string(), ": names shard ", shard, ", which is not in the folder");
    add_file(folder / shard);
    for (const TensorView& tensor : shards_.back().tensors()) {
      const auto entry = weight_map.find(tensor.name);
      if (entry == weight_map.end() || entry->second != shard)
        fail(ErrorCode::kModelInvalid, (folder / shard).string(), ": holds tensor ",
             json_quote(tensor.name.substr(0, 200)), ", which the index ",
             entry == weight_map.end() ? "does not list" : "places in ",
             entry == weight_map.end() ? std::string_view() : entry->second);
    }
    if (shards_.back().tensors().size() == count) continue;
    for (const auto& [tensor, place] : weight_map)
      if (place == shard && !shards_.back().find(tensor))
        fail(ErrorCode::kModelInvalid, (folder / shard).string(), ": lacks tensor ",
             json_quote(tensor.substr(0, 200)), ", which the index places there");
  }
}

void Checkpoint::widen_scales() {
  for (auto& [name, tensor] : tensors_) {
    if (!name.ends_with(".weight_scale") || (tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16))
      continue;
    const auto count = static_cast<size_t>(tensor.elements());
    widened_.push_back(std::make_unique<float[]>(count));
    for (size_t i = 0; i < count; ++i) widened_.back()[i] = read_element(tensor, static_cast<int64_t>(i));
    tensor.dtype = DType::kF32;
    tensor.data = std::as_bytes(std::span(widened_.back().get(), count));
  }
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Checkpoint::release(const TensorView& tensor) const noexcept {
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data.data());
  for (const SafetensorsFile& shard : shards_) {
    const auto first = reinterpret_cast<uintptr_t>(shard.file().bytes().data());
    if (begin < first || begin + tensor.data.size() > first + shard.file().size()) continue;
    shard.file().release(tensor.data);
    return;
  }
}

std::vector<fs::path> Checkpoint::files() const {
  std::vector<fs::path> paths;
  for (const SafetensorsFile& shard : shards_) paths.push_back(shard.file().path());
  return paths;
}

}  // namespace agentinfer
