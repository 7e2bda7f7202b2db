#include "draft/store_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <sstream>
#include <system_error>
#include <unordered_set>

#include "tensor/check.h"

namespace agentinfer {

namespace {

constexpr std::string_view kMagic = "AGINFSAM";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 64, kSumOffset = 60;

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

uint64_t name_hash(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

class Writer {
 public:
  template <typename T>
  void number(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
  void text(std::string_view value) {
    const auto* begin = reinterpret_cast<const std::byte*>(value.data());
    bytes.insert(bytes.end(), begin, begin + value.size());
  }
  std::vector<std::byte> bytes;
};

// Reads what check() said is there.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size() - at_; }
  template <typename T>
  T number() {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i)
      value |= static_cast<T>(static_cast<T>(bytes_[at_ + i]) << (8 * i));
    at_ += sizeof(T);
    return value;
  }
  std::string text(size_t size) {
    const std::string out(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return out;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

template <typename... Parts>
std::string reason(Parts&&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

void put_session(Writer& out, const StoredSession& session) {
  out.number(static_cast<uint32_t>(session.id.size()));
  out.number(static_cast<uint32_t>(session.query.size()));
  out.number(static_cast<uint32_t>(session.vector.size()));
  out.number(static_cast<uint32_t>(session.tokens.size()));
  out.text(session.id);
  out.text(session.query);
  for (const float x : session.vector) out.number(std::bit_cast<uint32_t>(x));
  for (const int32_t token : session.tokens) out.number(static_cast<uint32_t>(token));
}

// Empty, or why the session is refused.
std::string get_session(Reader& in, StoredSession& session) {
  if (in.left() < 16) return "the file ends within a session";
  const uint64_t id = in.number<uint32_t>(), query = in.number<uint32_t>();
  const uint64_t floats = in.number<uint32_t>(), tokens = in.number<uint32_t>();
  const uint64_t need = id + query + 4 * floats + 4 * tokens;
  if (need > in.left()) return reason("a session of ", need, " bytes where ", in.left(), " are left");
  if (id == 0) return "a session without id";
  session.id = in.text(id);
  session.query = in.text(query);
  session.vector.resize(floats);
  for (float& x : session.vector) {
    x = std::bit_cast<float>(in.number<uint32_t>());
    if (!std::isfinite(x) || std::fabs(x) > 1e18f) return "a query vector that is not finite";
  }
  session.tokens.resize(tokens);
  for (int32_t& token : session.tokens) {
    token = static_cast<int32_t>(in.number<uint32_t>());
    if (token < SuffixAutomaton::kBorder) return reason("token ", token);
  }
  return {};
}

std::string check_sessions(std::span<const StoredSession> sessions) {
  std::unordered_set<std::string_view> ids;
  size_t dimensions = 0;
  for (const StoredSession& session : sessions) {
    if (!ids.insert(session.id).second) return "a session twice";
    if (session.vector.empty()) continue;
    if (dimensions != 0 && session.vector.size() != dimensions) return "query vectors of two sizes";
    dimensions = session.vector.size();
  }
  return {};
}

[[noreturn]] void fail_io(const std::filesystem::path& path, std::string_view what) {
  const std::error_code code(errno, std::generic_category());
  fail(ErrorCode::kIo, path.string(), ": ", what, ": ", code.message());
}

struct File {
  explicit File(int descriptor) : fd(descriptor) {}
  File(const File&) = delete;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
  int fd;
};

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io(path, "cannot write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint32_t crc = ~0u;
  for (const std::byte byte : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<uint32_t>(byte)) & 0xff];
  return ~crc;
}

std::vector<std::byte> encode_sessions(std::span<const StoredSession* const> sessions,
                                       std::string_view tenant, uint64_t fingerprint) {
  Writer payload, out;
  for (const StoredSession* session : sessions) put_session(payload, *session);
  out.text(kMagic);
  out.number(kVersion);
  out.number(uint32_t{0});
  out.number(fingerprint);
  out.number(name_hash(tenant));
  out.number(static_cast<uint64_t>(payload.bytes.size()));
  out.number(static_cast<uint64_t>(sessions.size()));
  out.number(uint64_t{0});
  out.number(crc32c(payload.bytes));
  out.number(crc32c(out.bytes));
  out.bytes.insert(out.bytes.end(), payload.bytes.begin(), payload.bytes.end());
  return out.bytes;
}

DecodedSessions decode_sessions(std::span<const std::byte> bytes, std::string_view tenant,
                                uint64_t fingerprint) {
  const auto refuse = [](std::string why) { return DecodedSessions{{}, std::move(why)}; };
  if (bytes.size() < kHeaderBytes) return refuse(reason("shorter than its header: ", bytes.size(), " bytes"));
  Reader header(bytes.first(kHeaderBytes));
  if (header.text(kMagic.size()) != kMagic) return refuse("not a session store");
  const uint32_t version = header.number<uint32_t>(), reserved = header.number<uint32_t>();
  const uint64_t print = header.number<uint64_t>(), owner = header.number<uint64_t>();
  const uint64_t size = header.number<uint64_t>(), count = header.number<uint64_t>(),
                 reserved2 = header.number<uint64_t>();
  const uint32_t payload_sum = header.number<uint32_t>(), header_sum = header.number<uint32_t>();
  if (header_sum != crc32c(bytes.first(kSumOffset))) return refuse("the header's checksum does not match");
  if (version != kVersion) return refuse(reason("version ", version, ", expected ", kVersion));
  if (reserved != 0 || reserved2 != 0) return refuse("reserved fields are in use");
  if (print != fingerprint) return refuse("made with another tokenizer");
  if (owner != name_hash(tenant)) return refuse("belongs to another tenant");
  const std::span<const std::byte> payload = bytes.subspan(kHeaderBytes);
  if (size != payload.size())
    return refuse(reason("expected ", size, " bytes of sessions, got ", payload.size()));
  if (payload_sum != crc32c(payload)) return refuse("the sessions' checksum does not match");

  DecodedSessions out;
  Reader in(payload);
  for (uint64_t i = 0; i < count; ++i)
    if (std::string why = get_session(in, out.sessions.emplace_back()); !why.empty())
      return refuse(std::move(why));
  if (in.left() != 0) return refuse(reason(in.left(), " bytes after the last session"));
  if (std::string why = check_sessions(out.sessions); !why.empty()) return refuse(std::move(why));
  return out;
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::filesystem::path partial = path;
  partial += ".partial-" + std::to_string(::getpid());
  try {
    const File file(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.fd < 0) fail_io(partial, "cannot create");
    write_all(file.fd, bytes, partial);
    if (::fsync(file.fd) != 0) fail_io(partial, "cannot flush");
    if (::rename(partial.c_str(), path.c_str()) != 0) fail_io(path, "cannot replace");
  } catch (...) {
    ::unlink(partial.c_str());
    throw;
  }
  // The new name reaches the disk with its folder; a file system that cannot flush folders keeps the old file
  // at worst.
  const std::filesystem::path folder =
      path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const File directory(::open(folder.c_str(), O_RDONLY | O_CLOEXEC));
  if (directory.fd >= 0) (void)::fsync(directory.fd);
}

}  // namespace agentinfer
