// Tokenizing speed: 8 MB of mixed text (English-like words, Chinese-like words, code, numbers;
// Zipf-distributed, fixed seed) with vocabularies of 150,000 tokens made from the same words, as openPangu's
// and Qwen's are in size.
//
//   tokenizer_bench [--json] [--megabytes N] [--runs N] [--folder MODEL_FOLDER]
//
// Prints min, median and max over the runs. With --folder the tokenizer of that folder is measured instead.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

#include "text/tokenizer.h"
#include "text/utf8.h"

using namespace agentinfer;

namespace {

struct Lexicon {
  std::vector<std::string> english, chinese, code;
};

Lexicon make_lexicon(std::mt19937_64& random) {
  const std::vector<std::string> syllables = {"ra",   "ti",  "on", "er", "ing", "con",  "pre", "al",
                                              "ment", "ous", "st", "qu", "le",  "ness", "un",  "de",
                                              "ly",   "or",  "th", "e",  "a",   "s",    "pro", "ic"};
  const auto pick = [&](size_t count) { return static_cast<size_t>(random() % count); };
  Lexicon lexicon;
  for (int i = 0; i < 30000; ++i) {
    std::string word;
    for (size_t n = 1 + pick(4); n > 0; --n) word += syllables[pick(syllables.size())];
    if (pick(8) == 0) word[0] = static_cast<char>(word[0] - 32);
    lexicon.english.push_back(word);
  }
  for (int i = 0; i < 40000; ++i) {
    std::string word;
    for (size_t n = 1 + pick(3); n > 0; --n)
      append_utf8(0x4E00 + static_cast<uint32_t>(pick(3500) * (1 + pick(3)) / 2), word);
    lexicon.chinese.push_back(word);
  }
  lexicon.code = {
      "    return ",       "if (",      ") {\n", "self.", "const auto& ", " = ", "();\n", "\n\n", "\t\t",
      "import ",           "}\n",       "std::", "0x",    " == ",         "->",  "[i]",   "// ",  "def ",
      "(x, y):\n        ", "\"key\": ", ", "};
  return lexicon;
}

// Index with density proportional to 1 / (index + 1): frequent words first.
size_t zipf(std::mt19937_64& random, size_t count) {
  const double u = static_cast<double>(random() >> 11) * 0x1p-53;
  return std::min(count - 1, static_cast<size_t>(std::exp(u * std::log(static_cast<double>(count)))) - 1);
}

std::string make_text(const Lexicon& lexicon, size_t bytes, std::mt19937_64& random) {
  std::string text;
  text.reserve(bytes + 256);
  while (text.size() < bytes) {
    const uint64_t kind = random() % 10;
    const size_t words = 4 + random() % 12;
    for (size_t i = 0; i < words; ++i) {
      if (kind < 4) {
        text += lexicon.chinese[zipf(random, lexicon.chinese.size())];
      } else if (kind < 8) {
        if (i > 0) text += ' ';
        text += lexicon.english[zipf(random, lexicon.english.size())];
      } else {
        text += lexicon.code[random() % lexicon.code.size()];
        text += lexicon.english[zipf(random, lexicon.english.size())];
        if (random() % 4 == 0) text += std::to_string(random() % 100000);
      }
    }
    text += kind < 4 ? "。" : kind < 8 ? ". " : "\n";
  }
  text.resize(bytes);
  while (!text.empty() && (text.back() & 0x80)) text.pop_back();
  return text;
}

// Tokens: every prefix of every word, shortest first, so that merging word by word from the left reaches all
// of them.
std::vector<std::string> make_tokens(const Lexicon& lexicon, const std::string& space, bool by_bytes,
                                     size_t limit) {
  std::vector<std::string> tokens;
  std::unordered_set<std::string> known;
  const auto add_prefixes = [&](const std::string& word) {
    for (size_t end = 1; end <= word.size(); ++end) {
      if (!by_bytes && end < word.size() && (word[end] & 0xC0) == 0x80) continue;
      if (tokens.size() >= limit) return;
      const std::string prefix = word.substr(0, end);
      if ((by_bytes ? prefix.size() > 1 : true) && known.insert(prefix).second) tokens.push_back(prefix);
    }
  };
  if (!by_bytes)
    for (char c = '!'; c < 0x7F; ++c) add_prefixes(std::string(1, c));
  for (size_t i = 0; i < lexicon.chinese.size(); ++i) {
    if (i < lexicon.english.size()) add_prefixes(space + lexicon.english[i]);
    if (i < lexicon.english.size()) add_prefixes(lexicon.english[i]);
    add_prefixes(lexicon.chinese[i]);
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const auto& a, const auto& b) { return a.size() < b.size(); });
  return tokens;
}

void put_varint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_bytes(uint32_t field, const std::string& bytes, std::string& out) {
  put_varint(field << 3 | 2, out);
  put_varint(bytes.size(), out);
  out += bytes;
}

void put_piece(const std::string& text, float score, uint32_t type, std::string& out) {
  std::string piece;
  put_bytes(1, text, piece);
  piece.push_back(2 << 3 | 5);
  char raw[4];
  std::memcpy(raw, &score, 4);
  piece.append(raw, 4);
  piece.push_back(3 << 3);
  put_varint(type, piece);
  put_bytes(1, piece, out);
}

// openPangu's settings: byte fallback, identity normaliser, no dummy prefix, white space kept.
TokenizerFiles sentencepiece_files(const Lexicon& lexicon) {
  std::string model;
  put_piece("<unk>", 0, 2, model);
  put_piece("<s>", 0, 3, model);
  put_piece("</s>", 0, 3, model);
  char name[8];
  for (int byte = 0; byte < 256; ++byte) {
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    put_piece(name, 0, 6, model);
  }
  float score = 0;
  for (const std::string& token : make_tokens(lexicon, "\xE2\x96\x81", false, 150000))
    put_piece(token, --score, 1, model);
  put_bytes(2, std::string("\x18\x02\x98\x02\x01", 5), model);  // model_type BPE, byte_fallback
  put_bytes(3, std::string("\x18\x00\x20\x00\x28\x01", 6),
            model);  // no dummy prefix, keep and escape white space
  TokenizerFiles files;
  files.tokenizer_model = model;
  return files;
}

// A token in the characters that stand for bytes in tokenizer.json.
std::string byte_characters(const std::string& bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    uint32_t code = byte;
    if (byte < 0x21) code = 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0) code = 0x121u + (byte - 0x7Fu);
    if (byte == 0xAD) code = 0x143u;
    if (code == '"' || code == '\\') out.push_back('\\');
    append_utf8(code, out);
  }
  return out;
}

TokenizerFiles byte_level_files(const Lexicon& lexicon) {
  std::string vocab, merges;
  int id = 0;
  for (; id < 256; ++id) {
    vocab += id == 0 ? "\"" : ",\"";
    vocab += byte_characters(std::string(1, static_cast<char>(id))) + "\":" + std::to_string(id);
  }
  for (const std::string& token : make_tokens(lexicon, " ", true, 150000)) {
    const std::string left = byte_characters(token.substr(0, token.size() - 1)),
                      right = byte_characters(token.substr(token.size() - 1));
    vocab += ",\"" + left + right + "\":" + std::to_string(id++);
    merges += (merges.empty() ? "[\"" : ",[\"") + left + "\",\"" + right + "\"]";
  }
  TokenizerFiles files;
  files.tokenizer_json =
      R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")"
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"
      R"("},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},)"
      R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" +
      vocab + R"(},"merges":[)" + merges + "]}}";
  return files;
}

struct Row {
  std::string name, unit;
  double low, median, high;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// `scale` / seconds of each run, or milliseconds where scale is 0.
template <typename F>
Row measure(const std::string& name, const std::string& unit, double scale, int runs, F&& body) {
  std::vector<double> values;
  for (int run = 0; run < runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const double seconds = seconds_since(start);
    values.push_back(scale > 0 ? scale / seconds : seconds * 1e3);
  }
  std::sort(values.begin(), values.end());
  return {name, unit, values.front(), values[values.size() / 2], values.back()};
}

void measure_tokenizer(const std::string& name, const TokenizerFiles* files, const std::string& folder,
                       const std::string& text, int runs, std::vector<Row>& rows) {
  std::unique_ptr<Tokenizer> tokenizer;
  rows.push_back(measure(name + " load", "ms", 0, runs,
                         [&] { tokenizer = files ? Tokenizer::parse(*files) : Tokenizer::open(folder); }));
  std::vector<int32_t> ids;
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  rows.push_back(measure(name + " encode", "MB/s", megabytes, runs, [&] {
    ids.clear();
    tokenizer->encode(text, {}, ids);
  }));
  std::string decoded;
  rows.push_back(
      measure(name + " decode", "MB/s", megabytes, runs, [&] { decoded = tokenizer->decode(ids); }));
  if (decoded != text) std::fprintf(stderr, "%s: the decoded text differs\n", name.c_str());
  const double ratio =
      static_cast<double>(text.size()) / static_cast<double>(std::max<size_t>(ids.size(), 1));
  rows.push_back({name + " density", "bytes/token", ratio, ratio, ratio});
}

void print(const std::vector<Row>& rows, bool json) {
  if (json) std::printf("{\"case\":\"tokenizer\",\"rows\":[");
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (json)
      std::printf("%s{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\",\"spread\":[%.4g,%.4g]}", i ? "," : "",
                  row.name.c_str(), row.median, row.unit.c_str(), row.low, row.high);
    else
      std::printf("%-28s %10.2f %10.2f %10.2f  %s\n", row.name.c_str(), row.low, row.median, row.high,
                  row.unit.c_str());
  }
  if (json) std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  int runs = 5;
  double megabytes = 8;
  std::string folder;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const bool has_value = i + 1 < argc;
    if (option == "--json")
      json = true;
    else if (option == "--runs" && has_value)
      runs = std::max(1, std::atoi(argv[++i]));
    else if (option == "--megabytes" && has_value)
      megabytes = std::max(0.1, std::atof(argv[++i]));
    else if (option == "--folder" && has_value)
      folder = argv[++i];
    else
      return std::fprintf(stderr, "unknown option %s\n", option.c_str()), 2;
  }
  std::mt19937_64 random(20251121);
  const Lexicon lexicon = make_lexicon(random);
  const std::string text = make_text(lexicon, static_cast<size_t>(megabytes * 1e6), random);
  std::vector<Row> rows;
  if (!folder.empty()) {
    measure_tokenizer("folder", nullptr, folder, text, runs, rows);
  } else {
    const TokenizerFiles spm = sentencepiece_files(lexicon), bytes = byte_level_files(lexicon);
    measure_tokenizer("sentencepiece", &spm, "", text, runs, rows);
    measure_tokenizer("byte-level", &bytes, "", text, runs, rows);
  }
  if (!json) std::printf("%-28s %10s %10s %10s\n", "", "min", "median", "max");
  print(rows, json);
  return 0;
}
