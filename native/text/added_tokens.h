#pragma once
// Added tokens and where a text is cut at them, as Hugging Face tokenizers do it (tokenizers,
// added_vocabulary.rs): leftmost match, then longest; matches do not overlap. The slow Python tokenizers
// agree wherever lstrip, rstrip and single_word are off, as they are in every model we know of.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"

namespace agentinfer {

struct AddedToken {
  std::string content;  // not empty, valid UTF-8
  int32_t id = -1;
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
  bool single_word = false;             // only between characters that are not of a word
  bool normalized = false;              // looked for in the normalised text, not in the given one
  bool special = false;
};

struct AddedMatch {
  size_t begin = 0, end = 0;  // bytes taken, stripped white space included
  int32_t id = -1;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // `normalize` makes what normalized tokens are looked for as; none: their content. REQUIRES: contents are
  // distinct.
  explicit AddedTokens(std::vector<AddedToken> tokens, std::string (*normalize)(std::string_view) = nullptr);

  std::span<const AddedToken> all() const { return tokens_; }

  // Appends the matches within [from, to) of `text`, in order, of the tokens with this `normalized` flag.
  // What lies outside is seen only by single_word.
  void find(std::string_view text, size_t from, size_t to, bool normalized,
            std::vector<AddedMatch>& out) const;
  bool any(bool normalized) const { return !(normalized ? normalized_ : verbatim_).empty(); }

 private:
  std::vector<AddedToken> tokens_;
  ByteTrie verbatim_, normalized_;  // content -> index in tokens_
};

}  // namespace agentinfer
