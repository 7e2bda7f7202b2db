#pragma once
// What one sequence may draft from: its own text and up to kMaxSources others, each with its own cursor,
// advanced in O(1) amortised per emitted token. One automaton per source instead of one merged per request:
// nothing is rebuilt when the sources change, and a source's similarity keeps its meaning (arXiv 2512.18337
// merges).
//
// Thread safety: one thread (the engine's). The sources may be written by other threads meanwhile; one that
// is being written at this moment is passed over and its cursor catches up later.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "draft/acceptance.h"
#include "draft/cursor.h"
#include "draft/rhythm.h"
#include "draft/text_source.h"

namespace agentinfer {

// What a source proposes: what followed the latest occurrence of the longest suffix it knows, or the one
// before where more occurrences went on like that. Where nothing followed (the end of a document), the
// occurrence before and then some shorter suffixes are tried.
struct Proposal {
  int source = 0;  // index of the source in the set
  MatchClass match;
  Evidence evidence = Evidence::kSingle;  // of the first token
  uint32_t match_length = 0;
  uint32_t among = 0;  // tokens of the source's text
  uint32_t state = 0;  // of the match in the source's automaton
  uint32_t count = 0;  // of its occurrences
  int length = 0;      // > 0
  std::array<int32_t, kMaxDraftTokens> tokens;
};
using DraftEvidence = std::array<Evidence, kMaxDraftTokens>;

class SourceSet {
 public:
  static constexpr int kMaxSources = 24;

  // `own` is written by this set alone (start, emit).
  explicit SourceSet(std::shared_ptr<TextSource> own);
  SourceSet(SourceSet&&) = default;
  SourceSet& operator=(SourceSet&&) = default;

  // The sequence's tokens are now `tokens`: the prompt, or what was emitted elsewhere. Returns the index of
  // the first that its text did not have (TextSource::sync).
  size_t start(std::span<const int32_t> tokens);
  // The sequence grew. Its own text and the cursors take it when a look is due (due()), in one go: until then
  // the text is less than Rhythm::kApart tokens behind.
  void emit(std::span<const int32_t> tokens);
  // Its own text takes all that was emitted, due or not.
  void flush();

  // `similarity` in [0, 1]: how far to trust the source before it has been seen to be right or wrong. False:
  // the set is full, or has the source already.
  bool attach(SourceKind kind, std::shared_ptr<const TextSource> source, double similarity);
  int size() const { return static_cast<int>(others_.size()) + 1; }
  const std::shared_ptr<TextSource>& own() const { return own_; }

  // Whether there should be a look in this step, and what came of it: something worth drafting, or not.
  bool due() const { return rhythm_.due(); }
  void looked(bool found) { rhythm_.looked(found); }
  // Advances the cursors and lists what each source with a match of at least `min_match` tokens proposes, at
  // most `limit` tokens. Valid until the next call of anything. REQUIRES: 1 <= limit <= kMaxDraftTokens,
  // due() or flushed.
  std::span<const Proposal> look(int limit, uint32_t min_match);
  // What the source's occurrences say of each token of one of the last look's proposals: those of the match
  // extended by the tokens before it. Where occurrences part, a draft of what one of them went on with
  // becomes unlikely.
  void weigh(const Proposal& proposal, DraftEvidence& evidence) const;
  std::span<const Proposal> proposals() const { return proposals_; }  // of the last look; none after emit

  // Trust: a factor on the acceptance of the source's first token, between what its similarity suggests and
  // how it did compared with other sources in the same class.
  double trust(int source) const;
  void judge(int source, double expected, bool accepted);

  // A draft being compared with what is emitted, token by token, over as many steps as it takes; then the
  // next one is taken. Kept here for the drafter.
  struct Pending {
    MatchClass match;
    int decided = 0, length = 0;
    std::array<int32_t, kMaxDraftTokens> tokens;
    DraftEvidence evidence;
  };
  Pending& pending() { return pending_; }

 private:
  struct Other {
    SourceKind kind;
    std::shared_ptr<const TextSource> source;
    Cursor cursor;
    uint64_t seen;          // tokens of the sequence the cursor has taken
    uint32_t states;        // of the automaton when the cursor was last repaired
    double expected, hits;  // of judge(), faded
    double similarity;
  };
  static constexpr size_t kWarm = 64;  // tokens a new or far-behind cursor starts from
  static constexpr size_t kRecent = 256;

  void look_own(const TextSource::Reader& own, int limit, uint32_t min_match);
  using Bits = std::array<double, MatchClass::kByBits>;  // information in the last 1, 2, ... tokens
  void classify(const TextSource::Reader& own);
  Bits bits_of_recent(const SuffixAutomaton& automaton) const;
  Voice voice_of(const Proposal& proposal) const;
  static void describe(const SuffixAutomaton& automaton, const SuffixAutomaton::Match& match, SourceKind kind,
                       Proposal& proposal);
  using Readers = std::array<TextSource::Reader, kMaxSources>;
  void look_others(int limit, uint32_t min_match);
  void follow_others(const Readers& readers);
  void propose(size_t other, const SuffixAutomaton& automaton, int limit, uint32_t min_match);
  size_t restart(Other& other, const SuffixAutomaton& automaton) const;
  void remember(std::span<const int32_t> tokens);

  Rhythm rhythm_;
  std::vector<int32_t> owed_;  // emitted, but not in own_, recent_ and total_ yet
  std::vector<Proposal> proposals_;
  std::shared_ptr<TextSource> own_;
  std::vector<int32_t> recent_;  // the sequence's last tokens, at least kWarm if it has so many
  uint64_t total_ = 0;           // tokens of the sequence; recent_ ends here
  std::vector<Other> others_;
  Pending pending_;
};

}  // namespace agentinfer
