#pragma once
// A regular file mapped read-only into memory.

#include <cstddef>
#include <filesystem>
#include <span>

namespace agentinfer {

// Owns the mapping; move-only; reading from several threads is safe. The bytes stay valid and in place, also
// across moves, until the object is destroyed. The file must not be truncated meanwhile by anyone: reading
// past the new end of a mapped file raises SIGBUS, which no process can turn into an error reliably.
class MappedFile {
 public:
  // Throws kIo with path and reason for a path that is absent, unreadable, not a regular file (a directory, a
  // pipe) or empty.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  const std::filesystem::path& path() const { return path_; }

  // The process no longer needs the pages that hold the range (widened to whole pages), so they stop counting
  // as its resident memory. They remain in the system's file cache; touching them again only maps them again.
  // A hint: never fails, never changes what is read. `range` lies within bytes().
  void release(std::span<const std::byte> range) const noexcept;

 private:
  void unmap() noexcept;

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace agentinfer
