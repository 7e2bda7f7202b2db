#include <algorithm>

#include "tensor/check.h"
#include "text/sentencepiece_normalizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"
#include "text/utf8.h"

namespace agentinfer {

// Two ways to decode, as the reference libraries have them.
// Byte-level: all tokens are one stream of bytes; each maximal invalid subsequence is one U+FFFD.
// SentencePiece: only byte pieces are bytes, a run of them ends at any other token, and each byte that
// belongs to no valid character is one U+FFFD.
struct Detokenizer::State {
  const TokenizerData& data;
  std::vector<int32_t> skipped;  // ascending; empty when nothing is skipped
  std::string bytes = {};        // not yet a character; at most 3 between calls
  // The SentencePiece decoder's memory of the run since the beginning or the last added token.
  bool run_has_text = false;
  bool run_dropped_space = false;

  void drain(std::string& out, bool final);
  void push_text(std::string_view text, std::string_view piece, std::string& out);
};

// Moves what is decided from `bytes` to `out`; everything when `final`.
void Detokenizer::State::drain(std::string& out, bool final) {
  size_t at = 0;
  while (at < bytes.size()) {
    const std::string_view rest = std::string_view(bytes).substr(at);
    const uint32_t length = decode_utf8(rest).length;
    if (length > 0) {
      out.append(rest.substr(0, length));
      at += length;
      continue;
    }
    bool complete;
    const size_t invalid = invalid_utf8_length(rest, complete);
    if (!complete && !final) break;
    out.append(kReplacementCharacter);
    at += data.byte_level ? invalid : 1;
  }
  if (at > 0) run_has_text = true;
  bytes.erase(0, at);
}

void Detokenizer::State::push_text(std::string_view text, std::string_view piece, std::string& out) {
  const bool at_beginning = !run_dropped_space && !run_has_text;
  if (at_beginning && data.leading_space != LeadingSpace::kKeep && piece.starts_with(kSpaceSymbol)) {
    text.remove_prefix(1);
    run_dropped_space = data.leading_space == LeadingSpace::kDropFirst;
  }
  out.append(text);
  run_has_text = run_has_text || !text.empty();
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, const DecodeOptions& options)
    : state_(new State{.data = *tokenizer.data_, .skipped = {}}) {
  if (!options.skip_special) return;
  state_->skipped = options.skip_ids ? *options.skip_ids : tokenizer.data_->skipped;
  std::sort(state_->skipped.begin(), state_->skipped.end());
}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;

void Detokenizer::push(int32_t id, std::string& out) {
  State& state = *state_;
  const std::vector<TokenEntry>& tokens = state.data.tokens;
  if (id < 0) fail(ErrorCode::kInvalidArgument, "token id ", id, ", expected >= 0");
  if (std::binary_search(state.skipped.begin(), state.skipped.end(), id)) return;
  // Models pad their vocabulary beyond the tokenizer's.
  const TokenEntry token = static_cast<size_t>(id) < tokens.size() ? tokens[id] : TokenEntry{};
  if (token.kind == TokenKind::kBytes) {
    state.bytes.append(token.text);
    return state.drain(out, false);
  }
  if (state.data.byte_level) return;  // a hole
  state.drain(out, true);
  switch (token.kind) {
    case TokenKind::kText:
      return state.push_text(token.text, token.piece, out);
    case TokenKind::kAdded:
      out.append(token.text);
      state.run_has_text = state.run_dropped_space = false;
      return;
    case TokenKind::kUnknown:
      out.append(token.text);
      state.run_has_text = state.run_has_text || !token.text.empty();
      return;
    default:
      return;
  }
}

std::string Detokenizer::push(int32_t id) {
  std::string out;
  push(id, out);
  return out;
}

std::string Detokenizer::flush() {
  std::string out;
  state_->drain(out, true);
  state_->run_has_text = state_->run_dropped_space = false;
  return out;
}

size_t Detokenizer::pending() const {
  return state_->bytes.size();
}

}  // namespace agentinfer
