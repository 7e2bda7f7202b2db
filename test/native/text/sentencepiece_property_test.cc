// Small random vocabularies against BPE written down plainly: at every step look at all neighbours and merge
// the pair of the highest score, the leftmost on ties. Covers what trained models seldom have: ties,
// unreachable pieces, unused pieces that several pairs make, user-defined pieces inside others, characters
// without a piece, markers of every type.

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "check.h"
#include "model_bytes.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using namespace agentinfer;

namespace {

const std::vector<std::string> kAlphabet = {"a", "b", "c", "\xE2\x96\x81", "中", "文", "😀", "["};

struct World {
  std::vector<SentencePiece> pieces;
  bool byte_fallback = false;
  std::set<int32_t> markers;
};

std::string random_word(std::mt19937& random, size_t longest) {
  std::string word;
  for (size_t n = 1 + random() % longest; n > 0; --n)
    word += kAlphabet[random() % (random() % 3 ? 3 : kAlphabet.size())];
  return word;
}

World random_world(std::mt19937& random) {
  World world;
  world.byte_fallback = random() % 2 == 0;
  world.pieces.push_back({"<unk>", 0, PieceType::kUnknown});
  world.pieces.push_back({"<s>", 0, PieceType::kControl});
  char name[8];
  for (int byte = 0; world.byte_fallback && byte < 256; ++byte) {
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    world.pieces.push_back({name, 0, PieceType::kByte});
  }
  std::set<std::string> known;
  const bool odd = random() % 2 == 0;  // with unused and user-defined pieces
  for (size_t n = 5 + random() % 40; n > 0; --n) {
    const std::string word = random_word(random, 5);
    if (!known.insert(word).second) continue;
    PieceType type = PieceType::kNormal;
    if (odd && random() % 5 == 0) type = PieceType::kUnused;
    if (odd && random() % 12 == 0) type = PieceType::kUserDefined;
    if (random() % 10 == 0 && word.size() > 1)
      world.markers.insert(static_cast<int32_t>(world.pieces.size()));
    world.pieces.push_back({word, -static_cast<float>(random() % 12), type});
  }
  return world;
}

// The reference's algorithm without its data structures.
class Plain {
 public:
  Plain(const World& world, bool without_markers) : world_(world) {
    for (size_t id = 0; id < world.pieces.size(); ++id) {
      if (without_markers && world.markers.contains(static_cast<int32_t>(id))) continue;
      const SentencePiece& piece = world.pieces[id];
      if (piece.type == PieceType::kNormal || piece.type == PieceType::kUnused ||
          piece.type == PieceType::kUserDefined)
        ids_[piece.text] = static_cast<int32_t>(id);
    }
  }

  std::vector<int32_t> encode(const std::string& text) {
    split(text);
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) see(i);
    while (true) {
      size_t best = symbols_.size();
      for (size_t i = 0; i + 1 < symbols_.size(); ++i)
        if (mergeable(i) && (best == symbols_.size() || score(i) > score(best))) best = i;
      if (best == symbols_.size()) break;
      symbols_[best].text += symbols_[best + 1].text;
      symbols_.erase(symbols_.begin() + static_cast<ptrdiff_t>(best) + 1);
      if (best > 0) see(best - 1);
      if (best + 1 < symbols_.size()) see(best);
    }
    for (const Symbol& symbol : symbols_) emit(symbol.text);
    return out_;
  }

 private:
  struct Symbol {
    std::string text;
    bool frozen;
  };

  void split(const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      size_t longest = 0;
      for (const auto& [piece, id] : ids_)
        if (world_.pieces[id].type == PieceType::kUserDefined && text.compare(at, piece.size(), piece) == 0)
          longest = std::max(longest, piece.size());
      const size_t size = longest > 0 ? longest : decode_utf8(std::string_view(text).substr(at)).length;
      symbols_.push_back({text.substr(at, size), longest > 0});
      at += size;
    }
  }
  std::string joined(size_t i) const { return symbols_[i].text + symbols_[i + 1].text; }
  bool mergeable(size_t i) const {
    return !symbols_[i].frozen && !symbols_[i + 1].frozen && ids_.contains(joined(i));
  }
  float score(size_t i) const { return world_.pieces[ids_.at(joined(i))].score; }
  bool unused(const std::string& text) const {
    return ids_.contains(text) && world_.pieces[ids_.at(text)].type == PieceType::kUnused;
  }
  void see(size_t i) {
    if (mergeable(i) && unused(joined(i))) halves_[joined(i)] = {symbols_[i].text, symbols_[i + 1].text};
  }
  void emit(const std::string& text) {
    if (unused(text) && halves_.contains(text)) {
      const auto halves = halves_[text];
      emit(halves.first);
      return emit(halves.second);
    }
    if (ids_.contains(text) && !unused(text)) {
      out_.push_back(ids_[text]);
    } else if (world_.byte_fallback) {
      for (const char byte : text) out_.push_back(2 + static_cast<uint8_t>(byte));
    } else if (out_.empty() || out_.back() != 0) {
      out_.push_back(0);
    }
  }

  const World& world_;
  std::map<std::string, int32_t> ids_;
  std::vector<Symbol> symbols_;
  std::map<std::string, std::pair<std::string, std::string>> halves_;
  std::vector<int32_t> out_;
};

std::string config_of(const World& world) {
  std::string config = R"({"added_tokens_decoder":{)";
  bool first = true;
  for (const int32_t id : world.markers) {
    config += (first ? "\"" : ",\"") + std::to_string(id) + R"(":{"content":")" + world.pieces[id].text +
              R"(","special":true})";
    first = false;
  }
  return config + "}}";
}

std::string show(const std::vector<int32_t>& ids) {
  std::string out;
  for (const int32_t id : ids) out += std::to_string(id) + " ";
  return out;
}

}  // namespace

TEST("random vocabularies give what the plain algorithm gives") {
  std::mt19937 random(11);
  for (int round = 0; round < 600; ++round) {
    const World world = random_world(random);
    NormalizerSpec spec;
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = false;
    TokenizerFiles files;
    files.tokenizer_model = model_bytes::model(world.pieces, spec, world.byte_fallback);
    files.tokenizer_config = config_of(world);
    const auto tokenizer = Tokenizer::parse(files);
    for (int i = 0; i < 30; ++i) {
      const std::string text = random_word(random, i < 25 ? 30 : 200);
      CHECK_EQ(show(tokenizer->encode(text, false)), show(Plain(world, true).encode(text)));
      const std::vector<int32_t> special = tokenizer->encode(text, true);
      const bool cut =
          std::any_of(special.begin(), special.end(), [&](int32_t id) { return world.markers.contains(id); });
      if (!cut) CHECK_EQ(show(special), show(Plain(world, false).encode(text)));
    }
  }
}

TEST("added tokens lie beyond the vocabulary by at most their number, however many there are") {
  const std::vector<SentencePiece> all = {
      {"<unk>", 0, PieceType::kUnknown}, {"a", 0}, {"b", 0}, {"\xE2\x96\x81", 0}, {" ", 0}};
  constexpr int kTokens = 100;
  const auto vocab_size = [&](int stride) {
    std::string config = R"({"added_tokens_decoder":{)";
    for (int i = 0; i < kTokens; ++i)
      config += (i == 0 ? "\"" : ",\"") + std::to_string(5 + i * stride) + R"(":{"content":"<)" +
                std::to_string(i) + R"(>"})";
    TokenizerFiles files;
    files.tokenizer_model = model_bytes::model(all, {}, false);
    files.tokenizer_config = config + "}}";
    return Tokenizer::parse(files)->vocab_size();
  };
  CHECK_EQ(vocab_size(1), 5 + kTokens);
  CHECK_THROWS(vocab_size(kTokens), ErrorCode::kModelInvalid,
               "far beyond the vocabulary, expected at most 105");
}

TEST("white space rules are those of the model") {
  const auto pieces = [](const NormalizerSpec& spec, const std::string& text) {
    std::vector<SentencePiece> all = {
        {"<unk>", 0, PieceType::kUnknown}, {"a", 0}, {"b", 0}, {"\xE2\x96\x81", 0}, {" ", 0}};
    TokenizerFiles files;
    files.tokenizer_model = model_bytes::model(all, spec, false);
    const auto tokenizer = Tokenizer::parse(files);
    std::string out;
    for (const int32_t id : tokenizer->encode(text)) out += id == 3 ? "_" : tokenizer->piece(id);
    return out;
  };
  const std::string text = "  a  b ";
  CHECK_EQ(pieces({}, text), "_a_b");
  CHECK_EQ(pieces({.add_dummy_prefix = false}, text), "a_b");
  CHECK_EQ(pieces({.remove_extra_whitespaces = false}, text), "___a__b_");
  CHECK_EQ(pieces({.add_dummy_prefix = false, .remove_extra_whitespaces = false}, text), "__a__b_");
  CHECK_EQ(pieces({.escape_whitespaces = false}, text), " a b");
  CHECK_EQ(pieces({.whitespace_as_suffix = true}, text), "a_b_");
  CHECK_EQ(pieces({}, "   "), "");
  CHECK_EQ(pieces({}, ""), "");
  CHECK_EQ(pieces({.remove_extra_whitespaces = false}, ""), "");
}

TEST("a damaged or foreign model is refused with what is wrong") {
  const auto parse = [](const std::string& bytes) {
    TokenizerFiles files;
    files.tokenizer_model = bytes;
    return Tokenizer::parse(files);
  };
  const NormalizerSpec spec;
  const SentencePiece unk{"<unk>", 0, PieceType::kUnknown}, a{"a", 0};
  CHECK(parse(model_bytes::model({unk, a}, spec, false)) != nullptr);
  CHECK_THROWS(parse(""), ErrorCode::kModelInvalid, "no pieces");
  CHECK_THROWS(parse("\xff\xff"), ErrorCode::kModelInvalid, "varint");
  CHECK_THROWS(parse(model_bytes::model({unk, a}, spec, false, 1)), ErrorCode::kModelUnsupported,
               "model_type 1");
  CHECK_THROWS(parse(model_bytes::model({a}, spec, false)), ErrorCode::kModelInvalid,
               "no piece of type unknown");
  CHECK_THROWS(parse(model_bytes::model({unk, unk}, spec, false)), ErrorCode::kModelInvalid, "the same text");
  CHECK_THROWS(parse(model_bytes::model({unk, {"<u>", 0, PieceType::kUnknown}}, spec, false)),
               ErrorCode::kModelInvalid, "two unknown");
  CHECK_THROWS(parse(model_bytes::model({unk, a}, spec, true)), ErrorCode::kModelInvalid, "byte 0");
  CHECK_THROWS(parse(model_bytes::model({unk, {"<0x41>", 0, PieceType::kByte}}, spec, false)),
               ErrorCode::kModelInvalid, "byte_fallback");
  CHECK_THROWS(parse(model_bytes::model({unk, {"\xff", 0}}, spec, false)), ErrorCode::kModelInvalid, "UTF-8");
  CHECK_THROWS(parse(model_bytes::model({unk, {"", 0}}, spec, false)), ErrorCode::kModelInvalid, "0 bytes");
  CHECK_THROWS(parse(model_bytes::model({unk, {std::string(2000, 'a'), 0}}, spec, false)),
               ErrorCode::kModelInvalid, "2000 bytes");
  CHECK_THROWS(parse(model_bytes::model({unk, {"a", NAN}}, spec, false)), ErrorCode::kModelInvalid, "finite");
  NormalizerSpec map;
  map.charsmap = std::string("\x40\0\0\0ab", 6);
  CHECK_THROWS(parse(model_bytes::model({unk, a}, map, false)), ErrorCode::kModelInvalid, "charsmap");
}

CHECK_MAIN
