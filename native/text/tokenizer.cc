#include "text/tokenizer.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "tensor/check.h"
#include "text/tokenizer_data.h"

namespace agentinfer {
namespace {

constexpr std::uintmax_t kMaxFileBytes = 512u << 20;

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail(ErrorCode::kIo, path.string(), ": ", error.message());
  if (size > kMaxFileBytes)
    fail(ErrorCode::kModelInvalid, path.string(), ": ", size, " bytes, expected at most ", kMaxFileBytes);
  std::ifstream file(path, std::ios::binary);
  std::string content(size, '\0');
  file.read(content.data(), static_cast<std::streamsize>(size));
  if (!file) fail(ErrorCode::kIo, path.string(), ": cannot read ", size, " bytes");
  return content;
}

// The text of all segments, and which stretches of it may hold markers.
struct JoinedText {
  struct Stretch {
    size_t begin, end;
    bool parse_special;
  };
  std::string storage;  // empty when there is one segment: no copy
  std::string_view text;
  std::vector<Stretch> stretches;  // not empty, of alternating parse_special

  explicit JoinedText(std::span<const TextSegment> segments) {
    size_t total = 0;
    for (const TextSegment& segment : segments) {
      if (segment.text.empty()) continue;
      if (!stretches.empty() && stretches.back().parse_special == segment.parse_special)
        stretches.back().end += segment.text.size();
      else
        stretches.push_back({total, total + segment.text.size(), segment.parse_special});
      total += segment.text.size();
      text = segment.text;
    }
    if (text.size() == total) return;
    storage.reserve(total);
    for (const TextSegment& segment : segments) storage.append(segment.text);
    text = storage;
  }

  // Whether some of [begin, end) may not hold markers.
  bool holds_plain(size_t begin, size_t end) const {
    auto stretch = std::lower_bound(stretches.begin(), stretches.end(), begin,
                                    [](const Stretch& s, size_t at) { return s.end <= at; });
    for (; stretch != stretches.end() && stretch->begin < end; ++stretch)
      if (!stretch->parse_special) return true;
    return false;
  }
};

class Encoding {
 public:
  Encoding(const TokenizerData& data, const JoinedText& joined, const EncodeOptions& options,
           std::vector<int32_t>& out)
      : data_(data), joined_(joined), out_(out) {
    progress_ = [&options, unseen = size_t{0}](size_t bytes) mutable {
      unseen += bytes;
      // Work without a byte count (long merges) is reported as 0 and always looked at.
      if (!options.cancelled || (bytes != 0 && unseen < kProgressBytes)) return;
      unseen = 0;
      if (options.cancelled()) fail(ErrorCode::kAborted, "tokenising was cancelled");
    };
  }

  void run() {
    progress_(0);
    std::vector<AddedMatch> matches;
    for (const JoinedText::Stretch& stretch : joined_.stretches)
      if (stretch.parse_special) data_.added.find(joined_.text, stretch.begin, stretch.end, false, matches);
    size_t at = 0;
    for (const AddedMatch& match : matches) {
      gap(at, match.begin);
      out_.push_back(match.id);
      at = match.end;
    }
    gap(at, joined_.text.size());
  }

 private:
  void encode(std::string_view text, bool plain) {
    if (!text.empty()) data_.encoder->encode(text, plain, progress_, out_);
  }

  // Text between verbatim markers; markers of normalised text may still be in it.
  void gap(size_t begin, size_t end) {
    if (begin >= end) return;
    const std::string_view text = joined_.text.substr(begin, end - begin);
    const bool plain = joined_.holds_plain(begin, end);
    if (!data_.added.any(true)) return encode(text, plain);
    std::vector<AddedMatch> matches;
    if (!plain) {
      const std::string normal = data_.normalize ? data_.normalize(text) : std::string(text);
      data_.added.find(normal, 0, normal.size(), true, matches);
      return encode_around(normal, matches, 0, false);
    }
    // Partly plain: markers count only in the other stretches, and are looked for in the text as given.
    for (const JoinedText::Stretch& stretch : joined_.stretches) {
      const size_t from = std::max(begin, stretch.begin), to = std::min(end, stretch.end);
      if (stretch.parse_special && from < to) data_.added.find(joined_.text, from, to, true, matches);
    }
    encode_around(text, matches, begin, true);
  }

  void encode_around(std::string_view text, const std::vector<AddedMatch>& matches, size_t origin,
                     bool plain) {
    size_t at = 0;
    for (const AddedMatch& match : matches) {
      encode(text.substr(at, match.begin - origin - at), plain);
      out_.push_back(match.id);
      at = match.end - origin;
    }
    encode(text.substr(at), plain);
  }

  const TokenizerData& data_;
  const JoinedText& joined_;
  std::vector<int32_t>& out_;
  EncodeProgress progress_;
};

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerData> data) : data_(std::move(data)) {}
Tokenizer::~Tokenizer() = default;

std::unique_ptr<Tokenizer> Tokenizer::open(const std::filesystem::path& folder) {
  TokenizerFiles files;
  files.tokenizer_model = read_file(folder / "tokenizer.model");
  if (!files.tokenizer_model) files.tokenizer_json = read_file(folder / "tokenizer.json");
  if (!files.tokenizer_model && !files.tokenizer_json)
    fail(ErrorCode::kIo, folder.string(), ": expected tokenizer.model or tokenizer.json, found neither");
  files.tokenizer_config = read_file(folder / "tokenizer_config.json");
  files.special_tokens_map = read_file(folder / "special_tokens_map.json");
  files.added_tokens = read_file(folder / "added_tokens.json");
  return parse(files);
}

std::unique_ptr<Tokenizer> Tokenizer::parse(const TokenizerFiles& files) {
  if (!files.tokenizer_model && !files.tokenizer_json)
    fail(ErrorCode::kInvalidArgument, "a tokenizer needs tokenizer.model or tokenizer.json, got neither");
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(files.tokenizer_model ? load_sentencepiece(files) : load_byte_level(files)));
}

void Tokenizer::encode(std::string_view text, const EncodeOptions& options, std::vector<int32_t>& out) const {
  const TextSegment segment{text, options.parse_special};
  encode_segments({&segment, 1}, options, out);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> out;
  encode(text, {.parse_special = parse_special}, out);
  return out;
}

void Tokenizer::encode_segments(std::span<const TextSegment> segments, const EncodeOptions& options,
                                std::vector<int32_t>& out) const {
  const JoinedText joined(segments);
  Encoding(*data_, joined, options, out).run();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  Detokenizer detokenizer(*this, options);
  std::string text;
  for (const int32_t id : ids) detokenizer.push(id, text);
  return text + detokenizer.flush();
}

int32_t Tokenizer::vocab_size() const {
  return static_cast<int32_t>(data_->tokens.size());
}

std::string_view Tokenizer::piece(int32_t id) const {
  if (id < 0 || id >= vocab_size())
    fail(ErrorCode::kInvalidArgument, "token id ", id, ", expected 0 to ", vocab_size() - 1);
  return data_->tokens[id].piece;
}

std::optional<int32_t> Tokenizer::token_id(std::string_view piece) const {
  const int32_t id = data_->ids.find(piece);
  return id < 0 ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && data_->tokens[id].special;
}

std::optional<int32_t> Tokenizer::bos_id() const {
  return data_->bos_id;
}
std::optional<int32_t> Tokenizer::eos_id() const {
  return data_->eos_id;
}
std::optional<int32_t> Tokenizer::pad_id() const {
  return data_->pad_id;
}
std::optional<int32_t> Tokenizer::unk_id() const {
  return data_->unk_id;
}
bool Tokenizer::add_bos() const {
  return data_->add_bos;
}
bool Tokenizer::add_eos() const {
  return data_->add_eos;
}

}  // namespace agentinfer
