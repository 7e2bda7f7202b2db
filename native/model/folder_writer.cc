#include "model/folder_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

#include "tensor/check.h"
#include "tensor/json.h"

namespace agentinfer {

namespace {

namespace fs = std::filesystem;

bool is_side_file(const std::string& name) {
  if (name.empty() || name[0] == '.' || name == "config.json") return false;
  static constexpr std::string_view kWeights[] = {".safetensors", ".index.json", ".bin", ".pt",      ".pth",
                                                  ".gguf",        ".onnx",       ".h5",  ".msgpack", ".ckpt"};
  for (const std::string_view suffix : kWeights)
    if (name.ends_with(suffix)) return false;
  return true;
}

}  // namespace

PendingFolder::PendingFolder(const fs::path& target, uint64_t bytes_needed) {
  std::error_code code;
  target_ = fs::absolute(target, code).lexically_normal();
  if (!target_.has_filename()) target_ = target_.parent_path();  // "folder/"
  if (fs::exists(fs::symlink_status(target_, code)))
    fail(ErrorCode::kInvalidArgument, target_.string(), ": exists already; expected a path that is free");
  const fs::path parent = target_.parent_path();
  const fs::space_info space = fs::space(parent, code);
  if (code) fail(ErrorCode::kIo, parent.string(), ": ", code.message());
  if (space.available < bytes_needed)
    fail(ErrorCode::kIo, parent.string(), ": ", bytes_needed, " bytes are needed, ", space.available,
         " are free");
  path_ = target_;
  path_ += ".partial-" + std::to_string(::getpid());
  if (!fs::create_directory(path_, code))
    fail(ErrorCode::kIo, path_.string(), ": cannot create the folder: ", code ? code.message() : "it exists");
}

PendingFolder::~PendingFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(path_, ignored);
}

void PendingFolder::write_text(std::string_view name, std::string_view text) const {
  std::ofstream out(path_ / name, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  out.close();
  if (!out) fail(ErrorCode::kIo, (path_ / name).string(), ": cannot write");
}

void PendingFolder::copy_side_files(const fs::path& folder) const {
  std::error_code code;
  fs::directory_iterator entries(folder, code);
  for (const fs::directory_iterator end; !code && entries != end; entries.increment(code)) {
    const std::string name = entries->path().filename().string();
    std::error_code status;
    if (!is_side_file(name) || !entries->is_regular_file(status))
      continue;  // through links: caches are made of them
    fs::copy_file(entries->path(), path_ / name, status);
    if (status) fail(ErrorCode::kIo, entries->path().string(), ": cannot copy: ", status.message());
  }
  if (code) fail(ErrorCode::kIo, folder.string(), ": cannot list the folder: ", code.message());
}

void PendingFolder::commit() {
  std::error_code code;
  if (fs::exists(fs::symlink_status(target_, code)))
    fail(ErrorCode::kInvalidArgument, target_.string(), ": came into being meanwhile; it is left as it is");
  fs::rename(path_, target_, code);
  if (code) fail(ErrorCode::kIo, target_.string(), ": cannot rename the finished folder: ", code.message());
  committed_ = true;
}

std::vector<std::vector<TensorSpec>> plan_shards(std::span<const TensorSpec> tensors, uint64_t max_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  uint64_t used = 0;
  for (const TensorSpec& tensor : tensors) {
    const uint64_t bytes = tensor.bytes();
    if (!shards.back().empty() && used + bytes > max_bytes) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(tensor);
    used += bytes;
  }
  return shards;
}

std::string shard_name(size_t shard, size_t shards) {
  if (shards == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
  return name;
}

std::string shard_index_text(const std::vector<std::vector<TensorSpec>>& shards) {
  uint64_t total = 0;
  std::string map;
  for (size_t shard = 0; shard < shards.size(); ++shard) {
    for (const TensorSpec& tensor : shards[shard]) {
      total += tensor.bytes();
      map += (map.empty() ? "" : ",\n") + std::string("    ") + json_quote(tensor.name) + ": " +
             json_quote(shard_name(shard, shards.size()));
    }
  }
  return "{\n  \"metadata\": {\"total_size\": " + std::to_string(total) + "},\n  \"weight_map\": {\n" + map +
         "\n  }\n}\n";
}

}  // namespace agentinfer
