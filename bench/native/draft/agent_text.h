#pragma once
// Token streams with the repetition that agents' texts have, from seeds. No tokenizer: ids stand for pieces
// of text, drawn from Zipf's law over a vocabulary as large as openPangu's. An agent's transcript is a system
// prompt with tool schemas, then rounds of: thinking (new words, and phrases used before), a tool call (a
// fixed JSON frame around arguments that quote earlier text), an observation (a page frame, new text, URLs
// and passages that later rounds quote). Agents of one run share the prompt, the task's vocabulary and part
// of the observations.

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace agent_text {

using Tokens = std::vector<int32_t>;

inline constexpr int32_t kVocabulary = 153376;

class Words {
 public:
  explicit Words(uint64_t seed) : random_(seed) {}

  uint64_t below(uint64_t count) { return random_() % count; }
  bool chance(double p) { return static_cast<double>(random_() >> 11) * 0x1p-53 < p; }
  // Log-uniform rank, i.e. Zipf with exponent 1; scrambled so that neighbours in rank are not neighbours in
  // id.
  int32_t word(int32_t vocabulary = kVocabulary) {
    const double u = static_cast<double>(random_() >> 11) * 0x1p-53;
    const auto rank = static_cast<uint64_t>(std::exp(u * std::log(static_cast<double>(vocabulary))));
    return static_cast<int32_t>(rank * 2654435761u % static_cast<uint64_t>(vocabulary));
  }
  void words(Tokens& out, size_t count) {
    for (; count > 0; --count) out.push_back(word());
  }

 private:
  std::mt19937_64 random_;
};

inline Tokens random_text(uint64_t seed, size_t size) {
  Words words(seed);
  Tokens out(size);
  for (int32_t& token : out) token = static_cast<int32_t>(words.below(kVocabulary));
  return out;
}

// One passage of 200 tokens over and over, with a changed token now and then.
inline Tokens repetitive_text(uint64_t seed, size_t size) {
  Words words(seed);
  Tokens passage, out;
  words.words(passage, 200);
  while (out.size() < size)
    out.push_back(words.chance(0.01) ? words.word() : passage[out.size() % passage.size()]);
  return out;
}

// What the agents of one run have in common.
struct Run {
  explicit Run(uint64_t seed) : words(seed) {
    words.words(prompt, 1500);
    for (int tool = 0; tool < 6; ++tool) {
      Tokens frame;
      words.words(frame, 12 + words.below(12));
      frames.push_back(frame);
    }
    for (int page = 0; page < 40; ++page) {
      Tokens text;
      words.words(text, 150 + words.below(400));
      pages.push_back(text);
    }
    for (int i = 0; i < 60; ++i) {
      Tokens phrase;
      words.words(phrase, 3 + words.below(10));
      phrases.push_back(phrase);
    }
  }
  Words words;
  Tokens prompt;
  std::vector<Tokens> frames, pages, phrases;
};

inline void add(Tokens& out, const Tokens& piece) {
  out.insert(out.end(), piece.begin(), piece.end());
}

inline void quote(Words& words, const Tokens& from, size_t length, Tokens& out) {
  const size_t begin = words.below(from.size());
  for (size_t i = begin; i < from.size() && i < begin + length; ++i) out.push_back(from[i]);
}

// What the model says in a round (thinking and a tool call), and what the tool answers.
struct Round {
  Tokens said, observed;
};

inline Round make_round(const Run& run, Words& words, const Tokens& history) {
  Round round;
  for (size_t sentences = 3 + words.below(8); sentences > 0; --sentences) {
    if (words.chance(0.35)) add(round.said, run.phrases[words.below(run.phrases.size())]);
    if (words.chance(0.35)) quote(words, history, 8 + words.below(40), round.said);
    words.words(round.said, 4 + words.below(14));
  }
  const Tokens& frame = run.frames[words.below(run.frames.size())];
  round.said.insert(round.said.end(), frame.begin(), frame.begin() + 8);
  quote(words, history, 4 + words.below(12), round.said);
  words.words(round.said, 2 + words.below(4));
  round.said.insert(round.said.end(), frame.begin() + 8, frame.end());
  add(round.observed, run.frames[0]);
  if (words.chance(0.6))
    add(round.observed, run.pages[words.below(run.pages.size())]);
  else
    words.words(round.observed, 200 + words.below(500));
  return round;
}

// A transcript of `size` tokens of one agent of `run`.
inline Tokens agent_text(const Run& run, uint64_t seed, size_t size) {
  Words words(seed);
  Tokens out = run.prompt;
  while (out.size() < size) {
    const Round round = make_round(run, words, out);
    add(out, round.said);
    add(out, round.observed);
  }
  out.resize(size);
  return out;
}

}  // namespace agent_text
