// Damaged tokenizer files, from a fixed seed: each either loads (and then encodes and decodes) or throws
// Error. Meant for the sanitizers; a crash, an overflow or any other exception is the failure.

#include <algorithm>
#include <cctype>
#include <random>

#include "check.h"
#include "model_bytes.h"
#include "reference.h"

using namespace agentinfer;

namespace {

void mutate(std::string& bytes, std::mt19937& random) {
  if (bytes.empty()) return;
  for (size_t n = 1 + random() % 4; n > 0; --n) {
    const size_t at = random() % bytes.size();
    switch (random() % 7) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, random() % 16);
        break;
      case 4:
        bytes.insert(at, bytes, random() % bytes.size(), random() % 64);
        break;
      case 5:
        bytes.insert(at, 1 + random() % 8, static_cast<char>(random() % 2 ? 0xFF : random()));
        break;
      default: {  // swap two stretches' bytes: keeps lengths plausible
        const size_t other = random() % bytes.size(),
                     size = std::min({size_t{8}, bytes.size() - at, bytes.size() - other});
        for (size_t i = 0; i < size; ++i) std::swap(bytes[at + i], bytes[other + i]);
      }
    }
    if (bytes.empty()) return;
  }
}

// A model with fewer pieces, so that many can be tried.
std::string shortened(const std::string& model, size_t pieces) {
  std::string out;
  size_t at = 0, seen = 0;
  while (at < model.size()) {
    const size_t begin = at;
    const bool piece = model[at++] == 0x0A;
    size_t length = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(model[at++]);
      length |= static_cast<size_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    at += length;
    if (!piece || seen++ < pieces) out.append(model, begin, at - begin);
  }
  return out;
}

struct Outcome {
  int loaded = 0, refused = 0;
};

void try_files(const TokenizerFiles& files, Outcome& outcome) {
  try {
    const auto tokenizer = Tokenizer::parse(files);
    for (const char* text :
         {"hello world, 12 [unused9]<s> 你好 ①ﬁ e\xCC\x81", "\xff\xc0 <|im_end|> they'll\n\n  x", ""}) {
      for (const bool special : {false, true}) {
        const std::vector<int32_t> ids = tokenizer->encode(text, special);
        tokenizer->decode(ids, {.skip_special = special});
      }
    }
    ++outcome.loaded;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kModelInvalid && error.code() != ErrorCode::kModelUnsupported)
      check::report(__FILE__, __LINE__, std::string("unexpected error: ") + error.what());
    ++outcome.refused;
  }
}

void fuzz(TokenizerFiles files, std::optional<std::string> TokenizerFiles::*which, int rounds,
          uint32_t seed) {
  std::mt19937 random(seed);
  Outcome outcome;
  const std::string original = (files.*which).value();
  for (int round = 0; round < rounds; ++round) {
    files.*which = original;
    if (round % 2 == 0) {  // one character: most of these still parse, and contradict themselves somewhere
      char& c = (*(files.*which))[random() % original.size()];
      c = static_cast<char>(c == '"'                                ? '\''
                            : std::isdigit(static_cast<uint8_t>(c)) ? '0' + random() % 10
                                                                    : 'a' + random() % 26);
    } else {
      mutate(*(files.*which), random);
    }
    try_files(files, outcome);
  }
  CHECK(outcome.refused > rounds / 50);
  CHECK(outcome.loaded > 0);
}

TokenizerFiles read_files(const std::string& name) {
  TokenizerFiles files;
  const auto folder = reference::folder(name);
  if (std::filesystem::exists(folder / "tokenizer.model"))
    files.tokenizer_model = reference::read_file(folder / "tokenizer.model");
  if (std::filesystem::exists(folder / "tokenizer.json"))
    files.tokenizer_json = reference::read_file(folder / "tokenizer.json");
  if (std::filesystem::exists(folder / "tokenizer_config.json"))
    files.tokenizer_config = reference::read_file(folder / "tokenizer_config.json");
  return files;
}

}  // namespace

TEST("damaged tokenizer.model") {
  TokenizerFiles files = read_files("pangu");
  files.tokenizer_config.reset();
  files.tokenizer_model = shortened(*files.tokenizer_model, 330);
  fuzz(files, &TokenizerFiles::tokenizer_model, 4000, 1);
}

TEST("damaged tokenizer.model with a character map") {
  TokenizerFiles files = read_files("nfkc");
  files.tokenizer_model = shortened(*files.tokenizer_model, 200);
  fuzz(files, &TokenizerFiles::tokenizer_model, 400, 2);
}

TEST("damaged character map") {
  const SentencePieceModel model = parse_sentencepiece_model(*read_files("nfkc").tokenizer_model);
  std::mt19937 random(3);
  Outcome outcome;
  for (int round = 0; round < 400; ++round) {
    NormalizerSpec spec = model.normalizer;
    for (size_t n = 1 + random() % 200; n > 0; --n)
      spec.charsmap[4 + random() % 4096] = static_cast<char>(random());
    TokenizerFiles files;
    files.tokenizer_model = model_bytes::model({{"<unk>", 0, PieceType::kUnknown}, {"a", 0}}, spec, false);
    try_files(files, outcome);
  }
  CHECK(outcome.loaded > 0);
}

TEST("damaged tokenizer_config.json") {
  fuzz(read_files("pangu"), &TokenizerFiles::tokenizer_config, 150, 4);
}

TEST("damaged tokenizer.json") {
  fuzz(read_files("llama3"), &TokenizerFiles::tokenizer_json, 250, 5);
  fuzz(read_files("qwen"), &TokenizerFiles::tokenizer_json, 250, 6);
}

TEST("tokenizer.json of other kinds is refused by name") {
  const TokenizerFiles good = read_files("qwen");
  const auto changed = [&](const std::string& from, const std::string& to) {
    TokenizerFiles files = good;
    const size_t at = files.tokenizer_json->find(from);
    ensure(at != std::string::npos, "the fixture lacks ", from);
    files.tokenizer_json->replace(at, from.size(), to);
    return Tokenizer::parse(files);
  };
  constexpr auto kUnsupported = ErrorCode::kModelUnsupported;
  CHECK_THROWS(changed(R"({"type":"NFC"})", R"({"type":"NFKC"})"), kUnsupported, "NFKC");
  CHECK_THROWS(changed(R"("type":"BPE")", R"("type":"Unigram")"), kUnsupported, "Unigram");
  CHECK_THROWS(changed(R"(\\p{N}|)", R"(\\p{N}{1,2}|)"), kUnsupported, "Split.pattern");
  CHECK_THROWS(changed(R"("Isolated")", R"("Removed")"), kUnsupported, "Removed");
  CHECK_THROWS(changed(R"("invert":false)", R"("invert":true)"), kUnsupported, "invert");
  CHECK_THROWS(changed(R"("use_regex":false)", R"("use_regex":true)"), kUnsupported, "use_regex");
  CHECK_THROWS(changed(R"("add_prefix_space":false)", R"("add_prefix_space":true)"), kUnsupported,
               "add_prefix_space");
  CHECK_THROWS(
      changed(R"("post_processor":{"type":"ByteLevel")", R"("post_processor":{"type":"BertProcessing")"),
      kUnsupported, "BertProcessing");
  CHECK_THROWS(changed(R"("decoder":{"type":"ByteLevel")", R"("decoder":{"type":"Metaspace")"), kUnsupported,
               "Metaspace");
  CHECK_THROWS(changed(R"("dropout":null)", R"("dropout":0.1)"), kUnsupported, "dropout");
  CHECK_THROWS(changed(R"("byte_fallback":false)", R"("byte_fallback":true)"), kUnsupported, "byte_fallback");
  CHECK_THROWS(changed(R"("merges":[)", R"("merges":["zz qqqq",)"), ErrorCode::kModelInvalid,
               "not in the vocabulary");
  CHECK_THROWS(changed(R"("id":2000)", R"("id":99999999)"), ErrorCode::kModelInvalid, "99999999");
}

CHECK_MAIN
