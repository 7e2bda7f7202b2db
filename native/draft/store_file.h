#pragma once
// The file of one tenant's stored sessions. Little endian:
//
//   header, 64 bytes  magic "AGINFSAM", u32 version, u32 reserved 0, u64 fingerprint, u64 tenant hash,
//                     u64 payload bytes, u64 sessions, u64 reserved 0, u32 CRC-32C of the payload,
//                     u32 CRC-32C of the 60 bytes before
//   payload           per session: u32 id bytes, u32 query bytes, u32 vector floats, u32 tokens,
//                     then those four
//
// Nothing in a file is trusted: any change to a byte, a cut or an addition is refused, and so is a file whose
// checksums are right but whose content breaks a rule.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "draft/session_store.h"

namespace agentinfer {

uint32_t crc32c(std::span<const std::byte> bytes);

std::vector<std::byte> encode_sessions(std::span<const StoredSession* const> sessions,
                                       std::string_view tenant, uint64_t fingerprint);

struct DecodedSessions {
  std::vector<StoredSession> sessions;
  std::string refused;  // not empty: why; no sessions then
};
DecodedSessions decode_sessions(std::span<const std::byte> bytes, std::string_view tenant,
                                uint64_t fingerprint);

// To path + ".partial-<pid>", flushed to the disk, then renamed. Throws kIo.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace agentinfer
