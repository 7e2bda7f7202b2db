#include "text/utf8.h"

namespace agentinfer {
namespace {

uint32_t byte_at(std::string_view text, size_t index) {
  return static_cast<uint8_t>(text[index]);
}
bool is_trail(uint32_t byte) {
  return (byte & 0xC0) == 0x80;
}

// Whether `second` may follow `lead` in a valid character (Unicode 15, table 3-7).
bool second_allowed(uint32_t lead, uint32_t second) {
  if (lead == 0xE0) return second >= 0xA0 && second <= 0xBF;
  if (lead == 0xED) return second >= 0x80 && second <= 0x9F;
  if (lead == 0xF0) return second >= 0x90 && second <= 0xBF;
  if (lead == 0xF4) return second >= 0x80 && second <= 0x8F;
  return is_trail(second);
}

uint32_t sequence_length(uint32_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

}  // namespace

DecodedChar decode_utf8(std::string_view text) {
  const uint32_t lead = byte_at(text, 0);
  const uint32_t length = sequence_length(lead);
  if (length == 1) return {lead, 1};
  if (length == 0 || text.size() < length || !second_allowed(lead, byte_at(text, 1))) return {};
  uint32_t code = lead & (0x7Fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if (!is_trail(byte_at(text, i))) return {};
    code = (code << 6) | (byte_at(text, i) & 0x3F);
  }
  return {code, length};
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const uint32_t length = decode_utf8(text).length;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void append_utf8(uint32_t code, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

DecodedChar decode_valid_utf8(const char* text) {
  const auto byte = [text](int index) { return static_cast<uint32_t>(static_cast<uint8_t>(text[index])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

size_t invalid_utf8_length(std::string_view text, bool& complete) {
  complete = true;
  const uint32_t lead = byte_at(text, 0);
  const uint32_t length = sequence_length(lead);
  if (length < 2) return 1;
  size_t good = 1;
  while (good < length && good < text.size()) {
    const uint32_t next = byte_at(text, good);
    if (good == 1 ? !second_allowed(lead, next) : !is_trail(next)) return good;
    ++good;
  }
  complete = good != text.size();
  return good;
}

void append_utf8_lossy(std::string_view text, std::string& out) {
  while (!text.empty()) {
    size_t good = 0;
    while (good < text.size()) {
      const uint32_t length = decode_utf8(text.substr(good)).length;
      if (length == 0) break;
      good += length;
    }
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return;
    bool complete;
    text.remove_prefix(invalid_utf8_length(text, complete));
    out.append(kReplacementCharacter);
  }
}

}  // namespace agentinfer
