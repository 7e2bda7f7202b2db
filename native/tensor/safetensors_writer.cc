#include "tensor/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <numeric>
#include <set>
#include <system_error>

#include "tensor/check.h"
#include "tensor/json.h"
#include "tensor/safetensors.h"

namespace agentinfer {

namespace {

[[noreturn]] void fail_io(const std::filesystem::path& path, std::string_view what) {
  const int code = errno;
  fail(ErrorCode::kIo, path.string(), ": ", what, ": ", std::generic_category().message(code));
}

void append_little_endian(std::string& out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out += static_cast<char>((value >> (8 * i)) & 255);
}

}  // namespace

uint64_t TensorSpec::bytes() const {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t total = dtype_size(dtype);
  for (const int64_t extent : shape) {
    if (extent < 0 || (extent != 0 && total > kMax / static_cast<uint64_t>(extent)))
      fail(ErrorCode::kInvalidArgument, "tensor ", name, ": a shape that cannot be stored");
    total *= static_cast<uint64_t>(extent);
  }
  return total;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                     const std::vector<std::pair<std::string, std::string>>& metadata)
    : path_(path), tensors_(std::move(tensors)), extents_(tensors_.size()) {
  const std::string head = lay_out(metadata);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_io(path_, "cannot create");
  try {
    write_at(0, std::as_bytes(std::span(head)));
  } catch (...) {
    ::close(fd_);
    ::unlink(path_.c_str());
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

// Sets extents_ and returns everything before the data: length and header, padded with spaces so that the
// data begins at a multiple of 8.
std::string SafetensorsWriter::lay_out(const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::vector<size_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return dtype_size(tensors_[a].dtype) > dtype_size(tensors_[b].dtype);
  });
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) header += json_quote(key) + ":" + json_quote(value) + ",";
    header.back() = '}';
    header += ',';
  }
  uint64_t offset = 0;
  std::set<std::string_view> names = {"__metadata__"};
  for (const size_t i : order) {
    const TensorSpec& tensor = tensors_[i];
    if (!names.insert(tensor.name).second)
      fail(ErrorCode::kInvalidArgument, "tensor name ", tensor.name, " is reserved or given twice");
    extents_[i] = {offset, tensor.bytes(), 0};
    header +=
        json_quote(tensor.name) + ":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) + "\",\"shape\":[";
    for (const int64_t extent : tensor.shape) header += std::to_string(extent) + ",";
    if (!tensor.shape.empty()) header.pop_back();
    header += "],\"data_offsets\":[" + std::to_string(offset) + "," +
              std::to_string(offset + extents_[i].size) + "]},";
    offset += extents_[i].size;
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > kMaxSafetensorsHeader)
    fail(ErrorCode::kInvalidArgument, path_.string(), ": header of ", header.size(),
         " bytes; expected at most ", kMaxSafetensorsHeader);
  for (Extent& extent : extents_) extent.begin += 8 + header.size();
  std::string head;
  append_little_endian(head, header.size());
  return head + header;
}

void SafetensorsWriter::write(size_t tensor, std::span<const std::byte> piece) {
  ensure(fd_ >= 0 && tensor < extents_.size(), "SafetensorsWriter: write after finish or to tensor ", tensor);
  Extent& extent = extents_[tensor];
  if (piece.size() > extent.size - extent.written)
    fail(ErrorCode::kInvalidArgument, "tensor ", tensors_[tensor].name, ": more than its ", extent.size,
         " bytes written");
  write_at(extent.begin + extent.written, piece);
  extent.written += piece.size();
}

void SafetensorsWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // at most 1 GiB a call: macOS refuses 2 GiB and more
    const size_t size = std::min<size_t>(bytes.size(), size_t{1} << 30);
    const ssize_t done = ::pwrite(fd_, bytes.data(), size, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail_io(path_, "cannot write");
    offset += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void SafetensorsWriter::finish() {
  for (size_t i = 0; i < extents_.size(); ++i)
    if (extents_[i].written != extents_[i].size)
      fail(ErrorCode::kInvalidArgument, "tensor ", tensors_[i].name, ": ", extents_[i].written, " of ",
           extents_[i].size, " bytes written");
  if (::fsync(fd_) != 0) fail_io(path_, "cannot flush");
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) {
    ::unlink(path_.c_str());
    fail_io(path_, "cannot close");
  }
}

}  // namespace agentinfer
