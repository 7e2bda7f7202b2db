#include "text/added_tokens.h"

#include "text/unicode.h"
#include "text/utf8.h"

namespace agentinfer {
namespace {

// The last character before `at`, as [begin, at); begin == at when there is none or the bytes are not a
// character.
size_t previous_character(std::string_view text, size_t from, size_t at) {
  size_t begin = at;
  while (begin > from && at - begin < 4) {
    --begin;
    if ((static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) continue;
    return decode_utf8(text.substr(begin, at - begin)).length == at - begin ? begin : at;
  }
  return at;
}

bool ends_with_word(std::string_view text, size_t at) {
  const size_t begin = previous_character(text, 0, at);
  return begin < at && is_word_character(decode_utf8(text.substr(begin)).code);
}

bool starts_with_word(std::string_view text, size_t at) {
  if (at == text.size()) return false;
  const DecodedChar next = decode_utf8(text.substr(at));
  return next.length > 0 && is_word_character(next.code);
}

size_t skip_space_back(std::string_view text, size_t from, size_t at) {
  while (at > from) {
    const size_t begin = previous_character(text, from, at);
    if (begin == at || !is_space(decode_utf8(text.substr(begin)).code)) break;
    at = begin;
  }
  return at;
}

size_t skip_space(std::string_view text, size_t at, size_t to) {
  while (at < to) {
    const DecodedChar next = decode_utf8(text.substr(at, to - at));
    if (next.length == 0 || !is_space(next.code)) break;
    at += next.length;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, std::string (*normalize)(std::string_view))
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (!token.normalized)
      verbatim_.insert(token.content, static_cast<int32_t>(i));
    else
      normalized_.insert(normalize ? normalize(token.content) : token.content, static_cast<int32_t>(i));
  }
}

void AddedTokens::find(std::string_view text, size_t from, size_t to, bool normalized,
                       std::vector<AddedMatch>& out) const {
  const ByteTrie& trie = normalized ? normalized_ : verbatim_;
  if (trie.empty()) return;
  size_t taken = from;
  for (size_t at = from; at < to;) {
    if (!trie.may_start(text[at])) {
      ++at;
      continue;
    }
    const ByteTrie::Match match = trie.longest(text.substr(at, to - at));
    if (match.length == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match.value];
    size_t begin = at, end = at + match.length;
    at = end;
    if (token.single_word && (ends_with_word(text, begin) || starts_with_word(text, end))) continue;
    if (token.lstrip) begin = skip_space_back(text, taken, begin);
    if (token.rstrip) end = skip_space(text, end, to);
    if (begin < taken) continue;  // inside the white space that the match before took
    out.push_back({begin, end, token.id});
    taken = end;
    if (at < end) at = end;
  }
}

}  // namespace agentinfer
