#pragma once
// Text to token ids and back, exactly as the reference libraries do it, for the two families of tokenizer
// files we run:
//   tokenizer.model  SentencePiece BPE (openPangu, Llama 2), with the added tokens of tokenizer_config.json;
//   tokenizer.json   byte-level BPE (Llama 3, Qwen 2/2.5/3).
// A Tokenizer is immutable after loading; every const member may be called from any number of threads at
// once.
//
// Special markers such as "[unused10]" or "<|im_end|>" are ids of their own. Text from users and tools must
// not be able to forge them, so whether they are recognised is decided for each piece of text:
//   parse_special = true   the text is cut at the added tokens (leftmost, then longest; lstrip, rstrip,
//   single_word and normalized
//                          as Hugging Face defines them) and every gap is encoded on its own;
//   parse_special = false  marker text is plain text. No id of an added token, of a control piece or of the
//   unknown piece's
//                          marker can come out, even where the vocabulary itself holds the marker as an
//                          ordinary piece.
// Neither BOS nor EOS is ever added by encoding: see add_bos().
//
// Invalid UTF-8 never fails: as in the reference, SentencePiece reads each offending byte as U+FFFD, and
// byte-level vocabularies are given U+FFFD for each maximal invalid subsequence (what a Unicode string made
// from the bytes would hold).

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace agentinfer {

struct EncodeOptions {
  bool parse_special = false;
  // Called about every 64 KiB of text on the calling thread; when it returns true, encode throws kAborted.
  std::function<bool()> cancelled = {};
};

// A part of a rendered chat. Segments are encoded as one text: ordinary pieces may span their borders, as
// they would in the whole text, but a marker is recognised only where all of it lies in consecutive segments
// with parse_special.
struct TextSegment {
  std::string_view text;
  bool parse_special = false;
};

struct DecodeOptions {
  // Leaves ids out as if they were not in the sequence. SentencePiece folders: bos, eos, unk, pad (and sep,
  // cls, mask where named), as the slow tokenizers do, so openPangu's thinking and tool markers stay.
  // tokenizer.json: every added token marked special.
  bool skip_special = false;
  std::optional<std::vector<int32_t>> skip_ids = {};  // what skip_special leaves out instead
};

// The files of a model folder that describe its tokenizer, in memory. Absent files are std::nullopt. One of
// the first two is needed; tokenizer_model wins where both are present.
struct TokenizerFiles {
  std::optional<std::string> tokenizer_model;     // SentencePiece, protobuf
  std::optional<std::string> tokenizer_json;      // Hugging Face tokenizers
  std::optional<std::string> tokenizer_config;    // tokenizer_config.json
  std::optional<std::string> special_tokens_map;  // special_tokens_map.json
  std::optional<std::string> added_tokens;        // added_tokens.json
};

struct TokenizerData;  // see tokenizer_data.h

class Tokenizer {
 public:
  // Reads the folder's files. Throws kIo (unreadable, or neither tokenizer.model nor tokenizer.json),
  // kModelInvalid (damaged) or kModelUnsupported (well formed, but a model type, normaliser, pre-tokenizer or
  // post-processor we do not run; it is named).
  static std::unique_ptr<Tokenizer> open(const std::filesystem::path& folder);
  static std::unique_ptr<Tokenizer> parse(const TokenizerFiles& files);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Appends the ids of `text` to `out`. On an exception `out` holds an unspecified number of them.
  void encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const;
  std::vector<int32_t> encode(std::string_view text, bool parse_special = false) const;
  // EncodeOptions::parse_special is not used here: every segment carries its own.
  void encode_segments(std::span<const TextSegment> segments, const EncodeOptions& options,
                       std::vector<int32_t>& out) const;

  // Always valid UTF-8. Ids from vocab_size() on, with which models pad their vocabulary, have no text.
  // Throws kInvalidArgument for a negative id.
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;

  // Ids are in [0, vocab_size()). A vocabulary may have holes: their piece is empty and they decode to
  // nothing.
  int32_t vocab_size() const;
  std::string_view piece(int32_t id) const;  // as stored: "▁the", "<0x0A>", "Ġthe"; throws kInvalidArgument
  std::optional<int32_t> token_id(std::string_view piece) const;  // the reverse; added tokens come first
  // An added token marked special, or a control or unknown piece. False for ids that do not exist.
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;  // the tokenizer's own; generation_config.json may name more
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;
  bool add_bos() const;  // whether a prompt begins with bos_id(), as the folder's files say
  bool add_eos() const;

 private:
  friend class Detokenizer;
  explicit Tokenizer(std::unique_ptr<const TokenizerData> data);

  std::unique_ptr<const TokenizerData> data_;
};

// Decodes a growing sequence. The texts returned by push() and finally flush(), joined, are exactly decode()
// of the ids. Nothing is returned that a later id could change: never half a character. Not thread safe; the
// tokenizer must outlive it.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, const DecodeOptions& options = {});
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;

  // Text that became complete with this id, possibly empty. Ids as for Tokenizer::decode.
  std::string push(int32_t id);
  void push(int32_t id, std::string& out);  // appends
  // What is left at the end of the sequence (bytes of a character that never came are U+FFFD). Begins a new
  // sequence.
  std::string flush();
  // Bytes held back: nonzero while a character is incomplete.
  size_t pending() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace agentinfer
