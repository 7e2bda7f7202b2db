// A Tokenizer from tokenizer.json (format of Hugging Face tokenizers) and the JSON files beside it.
//
// One difference from the reference, on purpose: it decodes an added token through the byte characters when
// all of its characters happen to be some (an added "<é>" comes out as U+FFFD there); here an added token
// always decodes to its content.

#include <algorithm>
#include <limits>

#include "tensor/check.h"
#include "tensor/json.h"
#include "text/byte_level_bpe.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_data.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

constexpr int64_t kMaxHoles = 1 << 16;

[[noreturn]] void unsupported(std::string_view where, const Json& value, std::string_view expected) {
  fail(ErrorCode::kModelUnsupported, "tokenizer.json: ", where, ": ", value.describe(), ", expected ",
       expected);
}

const Json& member(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  if (!found) fail(ErrorCode::kModelInvalid, "tokenizer.json: \"", key, "\" is missing");
  return *found;
}

bool is_absent(const Json* value) {
  return !value || value->is_null();
}

std::string_view type_of(const Json& json) {
  const Json* type = json.find("type");
  return type && type->is_string() ? type->as_string() : std::string_view();
}

// The steps of a component: itself, or the parts of a Sequence. Empty when absent.
std::vector<const Json*> steps_of(const Json& root, std::string_view key, std::string_view list) {
  const Json* component = root.find(key);
  if (is_absent(component)) return {};
  if (type_of(*component) != "Sequence") return {component};
  std::vector<const Json*> steps;
  for (const Json& step : member(*component, list).items()) steps.push_back(&step);
  return steps;
}

void expect_flag(const Json& json, std::string_view where, std::string_view key, bool wanted, bool fallback) {
  const Json* value = json.find(key);
  const bool given = value ? value->as_bool() : fallback;
  if (given != wanted)
    fail(ErrorCode::kModelUnsupported, "tokenizer.json: ", where, ".", key, ": ", given, ", expected ",
         wanted);
}

SplitRule read_pre_tokenizer(const Json& root) {
  const std::vector<const Json*> steps = steps_of(root, "pre_tokenizer", "pretokenizers");
  constexpr std::string_view kExpected = "a Split by the Llama 3 or Qwen pattern, then ByteLevel";
  if (steps.size() != 2 || type_of(*steps[0]) != "Split" || type_of(*steps[1]) != "ByteLevel") {
    const Json none;
    const Json* given = root.find("pre_tokenizer");
    unsupported("pre_tokenizer", given ? *given : none, kExpected);
  }
  const Json* pattern = member(*steps[0], "pattern").find("Regex");
  const std::optional<SplitRule> rule =
      pattern && pattern->is_string() ? split_rule_of(pattern->as_string()) : std::nullopt;
  if (!rule)
    unsupported("pre_tokenizer: Split.pattern", pattern ? *pattern : member(*steps[0], "pattern"), kExpected);
  const Json& behavior = member(*steps[0], "behavior");
  if (!behavior.is_string() || behavior.as_string() != "Isolated")
    unsupported("pre_tokenizer: Split.behavior", behavior, "\"Isolated\"");
  expect_flag(*steps[0], "pre_tokenizer: Split", "invert", false, false);
  expect_flag(*steps[1], "pre_tokenizer: ByteLevel", "add_prefix_space", false, true);
  expect_flag(*steps[1], "pre_tokenizer: ByteLevel", "use_regex", false, true);
  return *rule;
}

bool read_normalizer(const Json& root) {
  bool nfc = false;
  for (const Json* step : steps_of(root, "normalizer", "normalizers")) {
    if (type_of(*step) != "NFC") unsupported("normalizer", *step, "none or NFC");
    nfc = true;
  }
  return nfc;
}

// TemplateProcessing says what is put around a prompt.
struct Surroundings {
  std::optional<std::string> before, after;
};

Surroundings read_template(const Json& step) {
  Surroundings result;
  bool seen_text = false;
  const Json& single = member(step, "single");
  for (const Json& item : single.items()) {
    if (item.find("Sequence")) {
      if (seen_text) unsupported("post_processor: TemplateProcessing.single", single, "the text once");
      seen_text = true;
      continue;
    }
    const Json& id = member(member(item, "SpecialToken"), "id");
    std::optional<std::string>& place = seen_text ? result.after : result.before;
    if (place)
      unsupported("post_processor: TemplateProcessing.single", single, "at most one token on either side");
    place = std::string(id.as_string());
  }
  return result;
}

Surroundings read_post_processor(const Json& root) {
  Surroundings result;
  for (const Json* step : steps_of(root, "post_processor", "processors")) {
    const std::string_view type = type_of(*step);
    if (type == "TemplateProcessing")
      result = read_template(*step);
    else if (type != "ByteLevel")
      unsupported("post_processor", *step, "ByteLevel or TemplateProcessing");
  }
  return result;
}

void check_decoder(const Json& root) {
  for (const Json* step : steps_of(root, "decoder", "decoders"))
    if (type_of(*step) != "ByteLevel") unsupported("decoder", *step, "ByteLevel");
}

void check_model(const Json& model) {
  if (const Json* type = model.find("type"); !type || !type->is_string() || type->as_string() != "BPE")
    unsupported("model.type", type ? *type : Json(), "\"BPE\"");
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Json* value = model.find(key);
        !is_absent(value) && !(value->is_string() && value->as_string().empty()))
      unsupported(key, *value, "none");
  if (const Json* dropout = model.find("dropout"); !is_absent(dropout) && dropout->as_double() != 0)
    unsupported("model.dropout", *dropout, "none");
  expect_flag(model, "model", "byte_fallback", false, false);
}

// The characters that stand for bytes in the file: printable Latin-1 for themselves, U+0100 and up for the
// others in order.
class ByteCharacters {
 public:
  ByteCharacters() {
    uint32_t next = 0x100;
    bytes_.fill(-1);
    for (int byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      bytes_[itself ? static_cast<uint32_t>(byte) : next++] = static_cast<int16_t>(byte);
    }
  }

  // The bytes a token stands for; std::nullopt for a token that is not written in these characters.
  std::optional<std::string> decode(std::string_view token) const {
    std::string out;
    for (size_t at = 0; at < token.size();) {
      const DecodedChar next = decode_valid_utf8(token.data() + at);
      if (next.code >= bytes_.size() || bytes_[next.code] < 0) return std::nullopt;
      out.push_back(static_cast<char>(bytes_[next.code]));
      at += next.length;
    }
    return out;
  }

 private:
  std::array<int16_t, 0x180> bytes_;
};

// `literal[id]`: a token that decodes to its own spelling and that no text can give.
std::vector<bool> read_vocabulary(const Json& vocab, TokenizerData& data) {
  const auto members = vocab.members();
  const int64_t limit = static_cast<int64_t>(members.size()) + kMaxHoles;
  const ByteCharacters characters;
  data.ids.reserve(members.size() + 1024);
  data.tokens.resize(members.size());
  std::vector<bool> literal(static_cast<size_t>(limit));
  for (const JsonMember& entry : members) {
    const int64_t id = entry.value.as_int();
    if (id < 0 || id >= limit || entry.key.empty())
      fail(ErrorCode::kModelInvalid, "tokenizer.json: model.vocab: \"", entry.key, "\": id ", id,
           ", expected 0 to ", limit - 1);
    if (static_cast<size_t>(id) >= data.tokens.size()) data.tokens.resize(id + 1);
    TokenEntry& token = data.tokens[id];
    if (!token.piece.empty())
      fail(ErrorCode::kModelInvalid, "tokenizer.json: model.vocab: \"", token.piece, "\" and \"", entry.key,
           "\" both have id ", id);
    token.piece = data.keep(std::string(entry.key));
    const std::optional<std::string> bytes = characters.decode(entry.key);
    literal[id] = !bytes;
    token.text = !bytes || *bytes == entry.key ? token.piece : data.keep(*bytes);
    token.kind = TokenKind::kBytes;
    data.ids.insert(token.piece, static_cast<int32_t>(id));
  }
  return literal;
}

// "left right", or ["left", "right"].
std::pair<std::string_view, std::string_view> read_merge(const Json& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.as_string();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  } else if (merge.is_array() && merge.items().size() == 2) {
    return {merge.items()[0].as_string(), merge.items()[1].as_string()};
  }
  fail(ErrorCode::kModelInvalid, "tokenizer.json: model.merges: ", merge.describe(), ", expected two tokens");
}

MergeTable read_merges(const Json& merges, const TokenizerData& data, const std::vector<bool>& markers) {
  const auto items = merges.items();
  MergeTable table(items.size());
  const auto id_of = [&](std::string_view token, const Json& merge) {
    const int32_t id = data.ids.find(token);
    if (id < 0)
      fail(ErrorCode::kModelInvalid, "tokenizer.json: model.merges: ", merge.describe(), ": \"", token,
           "\" is not in the vocabulary");
    return static_cast<uint32_t>(id);
  };
  std::string joined;
  for (size_t rank = items.size(); rank-- > 0;) {  // of a repeated pair the last counts
    const auto [left, right] = read_merge(items[rank]);
    joined.assign(left).append(right);
    const uint32_t result = id_of(joined, items[rank]);
    const uint32_t marker = markers[result] ? MergeTable::kMarker : 0;
    table.insert(
        {id_of(left, items[rank]), id_of(right, items[rank]), result | marker, static_cast<uint32_t>(rank)});
  }
  return table;
}

// tokenizer.json's own added tokens, then those that only tokenizer_config.json knows.
void read_added(const Json& root, TokenizerConfig& config) {
  std::vector<AddedToken> from_config = std::move(config.added);
  config.added.clear();
  AddedTokenList list(config.added);
  if (const Json* items = root.find("added_tokens"); !is_absent(items))
    for (const Json& item : items->items())
      list.add(parse_added_token(item, member(item, "id").as_int(), "tokenizer.json: added_tokens"),
               "tokenizer.json");
  for (AddedToken& token : from_config) list.add(std::move(token), "tokenizer_config.json");
}

void install_special_roles(TokenizerData& data, const TokenizerConfig& config, const Surroundings& around) {
  assign_roles(data, config);
  const auto id_of = [&](const std::string& token) {
    const int32_t id = data.ids.find(token);
    if (id < 0)
      fail(ErrorCode::kModelInvalid, "tokenizer.json: post_processor: \"", token, "\" is not a token");
    return id;
  };
  if (around.before) data.bos_id = id_of(*around.before);
  if (around.after && !data.eos_id) data.eos_id = id_of(*around.after);
  data.add_bos = config.add_bos.value_or(around.before.has_value()) && data.bos_id.has_value();
  data.add_eos = config.add_eos.value_or(around.after.has_value()) && data.eos_id.has_value();
  for (const AddedToken& token : data.added.all())
    if (token.special) data.skipped.push_back(token.id);
  std::sort(data.skipped.begin(), data.skipped.end());
}

std::array<int32_t, 256> read_bytes(const TokenizerData& data, const std::vector<bool>& literal) {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].text.size() == 1 && !literal[id])
      ids[static_cast<uint8_t>(data.tokens[id].text[0])] = static_cast<int32_t>(id);
  for (int byte = 0; byte < 256; ++byte)
    if (ids[byte] < 0)
      fail(ErrorCode::kModelUnsupported, "tokenizer.json: model.vocab has no token for byte ", byte);
  return ids;
}

}  // namespace

std::unique_ptr<TokenizerData> load_byte_level(const TokenizerFiles& files) {
  const JsonDocument document = parse_json(*files.tokenizer_json, "tokenizer.json");
  const Json& root = document.root();
  const Json& model = member(root, "model");
  TokenizerConfig config = parse_tokenizer_config(files);
  auto data = std::make_unique<TokenizerData>();
  data->byte_level = true;

  ByteLevelParts parts;
  check_model(model);
  check_decoder(root);
  parts.split = read_pre_tokenizer(root);
  parts.nfc = read_normalizer(root);
  const Surroundings around = read_post_processor(root);
  const std::vector<bool> literal = read_vocabulary(member(model, "vocab"), *data);
  parts.byte_ids = read_bytes(*data, literal);
  read_added(root, config);
  for (const AddedToken& token : config.added) data->ids.insert(data->keep(token.content), token.id);
  resolve_roles(*data, config);

  if (const Json* ignore = model.find("ignore_merges"); !is_absent(ignore))
    parts.ignore_merges = ignore->as_bool();
  std::vector<bool> markers(data->tokens.size());
  for (const AddedToken& token : config.added)
    if (static_cast<size_t>(token.id) < markers.size()) markers[token.id] = true;
  parts.merges = read_merges(member(model, "merges"), *data, markers);
  if (parts.ignore_merges)
    for (size_t id = 0; id < data->tokens.size(); ++id)
      if (!markers[id] && !literal[id]) parts.words.insert(data->tokens[id].text, static_cast<int32_t>(id));
  data->normalize = parts.nfc ? +[](std::string_view text) { return byte_level_normalize(text, true); }
                              : +[](std::string_view text) { return byte_level_normalize(text, false); };
  install_added_tokens(*data, config.added, TokenKind::kBytes);
  install_special_roles(*data, config, around);
  data->encoder = std::make_unique<ByteLevelBpe>(std::move(parts));
  return data;
}

}  // namespace agentinfer
