#pragma once
// Reads the protobuf wire format (protobuf.dev, "Encoding") field by field. Every length is checked against
// the buffer.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "tensor/check.h"

namespace agentinfer {

class ProtobufReader {
 public:
  // `what` names the message in errors. The bytes must outlive the reader and every view taken from it.
  ProtobufReader(std::string_view bytes, std::string_view what)
      : rest_(bytes), total_(bytes.size()), what_(what) {}

  // Moves to the next field; false at the end of the message.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field_ = static_cast<uint32_t>(tag >> 3);
    wire_ = static_cast<uint32_t>(tag & 7);
    if (tag >> 32 != 0 || field_ == 0) invalid("tag");
    switch (wire_) {
      case 0:
        number_ = varint();
        break;
      case 1:
        number_ = fixed<uint64_t>();
        break;
      case 2:
        bytes_ = take(varint());
        break;
      case 5:
        number_ = fixed<uint32_t>();
        break;
      default:
        invalid("wire type");
    }
    return true;
  }

  uint32_t field() const { return field_; }
  std::string_view bytes() const {
    return wire_ == 2 ? bytes_ : (invalid("wire type, length-delimited expected"), bytes_);
  }
  uint64_t number() const { return wire_ == 0 ? number_ : (invalid("wire type, varint expected"), 0); }
  int32_t int32() const { return static_cast<int32_t>(static_cast<uint32_t>(number())); }
  bool boolean() const { return number() != 0; }
  float float32() const {
    if (wire_ != 5) invalid("wire type, 32-bit expected");
    return std::bit_cast<float>(static_cast<uint32_t>(number_));
  }

 private:
  [[noreturn]] void invalid(std::string_view part) const {
    fail(ErrorCode::kModelInvalid, what_, ": bad ", part, " in field ", field_, " near byte ",
         total_ - rest_.size(), " of ", total_);
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest_.empty()) invalid("varint (cut off)");
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift == 63 && byte > 1) invalid("varint (too long)");
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    invalid("varint (too long)");
  }

  std::string_view take(uint64_t size) {
    if (size > rest_.size()) invalid("length (beyond the end)");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  template <typename T>
  T fixed() {
    const std::string_view raw = take(sizeof(T));
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(static_cast<uint8_t>(raw[i])) << (8 * i);
    return value;
  }

  std::string_view rest_;
  size_t total_;
  std::string_view what_;
  uint32_t field_ = 0;
  uint32_t wire_ = 0;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

}  // namespace agentinfer
