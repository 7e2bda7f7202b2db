#include "text/sentencepiece_normalizer.h"

#include <cstring>

#include "tensor/check.h"
#include "text/subword.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

// The bit fields of a Darts-clone unit.
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
uint32_t leaf_value(uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
uint32_t label(uint32_t unit) {
  return unit & 0x800000FF;
}
uint32_t offset(uint32_t unit) {
  return unit >> 10 << ((unit & 1u << 9) >> 6);
}

[[noreturn]] void invalid(const char* what) {
  fail(ErrorCode::kModelInvalid, "tokenizer.model: normalizer_spec.precompiled_charsmap: ", what);
}

std::vector<uint32_t> read_units(std::string_view bytes) {
  std::vector<uint32_t> units(bytes.size() / 4);
  for (size_t i = 0; i < units.size(); ++i)
    for (size_t byte = 0; byte < 4; ++byte)
      units[i] |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[4 * i + byte])) << (8 * byte);
  return units;
}

}  // namespace

SentencePieceNormalizer::SentencePieceNormalizer(const NormalizerSpec& spec)
    : add_dummy_prefix_(spec.add_dummy_prefix),
      remove_extra_whitespaces_(spec.remove_extra_whitespaces),
      escape_whitespaces_(spec.escape_whitespaces),
      whitespace_as_suffix_(spec.whitespace_as_suffix) {
  if (spec.charsmap.empty()) return;
  const std::string_view map = spec.charsmap;
  if (map.size() <= 4) invalid("shorter than its size field");
  const uint32_t trie_bytes = read_units(map.substr(0, 4))[0];
  if (trie_bytes >= map.size() - 4) invalid("the trie is longer than the map");
  if (trie_bytes == 0 || trie_bytes % 4 != 0) invalid("the trie is not a whole number of units");
  trie_ = read_units(map.substr(4, trie_bytes));
  replacements_.assign(map.data() + 4 + trie_bytes, map.size() - 4 - trie_bytes);
  if (replacements_.back() != '\0') invalid("the last replacement is not terminated");
  if (!is_valid_utf8(replacements_)) invalid("a replacement is not valid UTF-8");
}

void SentencePieceNormalizer::normalize(std::string_view text, const ByteTrie& verbatim,
                                        const std::function<void(size_t)>& progress, std::string& out) const {
  out.clear();
  if (trie_.empty() && !remove_extra_whitespaces_)
    normalize_identity(text, progress, out);
  else
    normalize_rules(text, verbatim, progress, out);
}

void SentencePieceNormalizer::append(std::string_view text, std::string& out) const {
  for (const char c : text)
    if (c == ' ' && escape_whitespaces_)
      out.append(kSpaceSymbol);
    else
      out.push_back(c);
}

// Without rules and whitespace removal nothing depends on what was verbatim: every valid character stands for
// itself.
void SentencePieceNormalizer::normalize_identity(std::string_view text,
                                                 const std::function<void(size_t)>& progress,
                                                 std::string& out) const {
  if (text.empty()) return;
  const std::string_view space = escape_whitespaces_ ? kSpaceSymbol : std::string_view(" ");
  if (add_dummy_prefix_ && !whitespace_as_suffix_) out.append(space);
  size_t done = 0, reported = 0;
  while (done < text.size()) {
    size_t run = done;  // valid characters that are not spaces, copied at once
    while (run < text.size() && run - reported < kProgressBytes && text[run] != ' ') {
      const uint32_t length =
          static_cast<uint8_t>(text[run]) < 0x80 ? 1 : decode_utf8(text.substr(run)).length;
      if (length == 0) break;
      run += length;
    }
    out.append(text.substr(done, run - done));
    done = run;
    if (done - reported >= kProgressBytes) {
      progress(done - reported);
      reported = done;
      continue;
    }
    if (done == text.size()) break;
    out.append(text[done] == ' ' ? space : kReplacementCharacter);
    ++done;
  }
  if (add_dummy_prefix_ && whitespace_as_suffix_) out.append(space);
}

SentencePieceNormalizer::Step SentencePieceNormalizer::longest_rule(std::string_view text) const {
  Step best;
  uint32_t node = offset(trie_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= trie_.size() || label(trie_[node]) != byte) break;
    const uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= trie_.size() || leaf_value(trie_[node]) >= replacements_.size())
      invalid("a rule points beyond the map");
    best = {replacements_.c_str() + leaf_value(trie_[node]), i + 1};
  }
  if (!is_valid_utf8(best.output)) invalid("a rule points into the middle of a character");
  return best;
}

SentencePieceNormalizer::Step SentencePieceNormalizer::step(std::string_view text,
                                                            const ByteTrie& verbatim) const {
  if (const ByteTrie::Match match = verbatim.longest(text); match.length > 0)
    return {text.substr(0, match.length), match.length};
  if (!trie_.empty())
    if (const Step rule = longest_rule(text); rule.consumed > 0) return rule;
  const uint32_t length = decode_utf8(text).length;
  if (length == 0) return {kReplacementCharacter, 1};
  return {text.substr(0, length), length};
}

void SentencePieceNormalizer::normalize_rules(std::string_view text, const ByteTrie& verbatim,
                                              const std::function<void(size_t)>& progress,
                                              std::string& out) const {
  if (remove_extra_whitespaces_) {
    while (!text.empty()) {
      const Step next = step(text, verbatim);
      if (next.output != " ") break;
      text.remove_prefix(next.consumed);
    }
  }
  if (text.empty()) return;
  const std::string_view space = escape_whitespaces_ ? kSpaceSymbol : std::string_view(" ");
  if (add_dummy_prefix_ && !whitespace_as_suffix_) out.append(space);

  bool after_space = remove_extra_whitespaces_;
  size_t unreported = 0;
  while (!text.empty()) {
    const Step next = step(text, verbatim);
    std::string_view output = next.output;
    while (after_space && output.starts_with(' ')) output.remove_prefix(1);
    if (!output.empty()) {
      append(output, out);
      after_space = output.ends_with(' ') && remove_extra_whitespaces_;
    }
    text.remove_prefix(next.consumed);
    unreported += next.consumed;
    if (unreported >= kProgressBytes) {
      progress(unreported);
      unreported = 0;
    }
  }
  if (remove_extra_whitespaces_)
    while (out.ends_with(space)) out.erase(out.size() - space.size());
  if (add_dummy_prefix_ && whitespace_as_suffix_) out.append(space);
}

}  // namespace agentinfer
