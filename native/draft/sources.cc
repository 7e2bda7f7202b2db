#include "draft/sources.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace agentinfer {

namespace {

constexpr double kTrustWeight = 4;   // outcomes that similarity counts for
constexpr double kTrustMemory = 64;  // outcomes a source's own record counts for at most
constexpr int kMaxClimb = 4;         // shorter matches tried when nothing follows the longest

// Occurrences of the state's strings that went on with the token.
uint32_t count_of(const SuffixAutomaton& automaton, uint32_t state, int32_t token) {
  const uint32_t child = automaton.next(state, token);
  return child == SuffixAutomaton::kNone ? 0 : automaton.count(child);
}

// What followed the latest occurrence; where that was the end of a document, or fewer occurrences went on
// like it than like the one before, what followed that one.
int follow(const SuffixAutomaton& automaton, const SuffixAutomaton::Match& match, bool wrap,
           std::span<int32_t> out) {
  const int length = automaton.continuation(match.end, wrap, out);
  if (match.previous == 0) return length;
  if (length > 0) {
    const int32_t other = automaton.text(match.previous);
    if (!match.branches || other == out[0] || other == SuffixAutomaton::kBorder ||
        count_of(automaton, match.state, other) <= count_of(automaton, match.state, out[0]))
      return length;
  }
  return automaton.continuation(match.previous, wrap, out);
}

// What follow() and describe() read of a cursor's match, in two steps: the text, and what depends on it.
void prefetch_text(const SuffixAutomaton& automaton, const Cursor& cursor, int limit) {
  const SuffixAutomaton::Match match = cursor.match(automaton);
  automaton.prefetch_text(match.end, static_cast<uint32_t>(limit));
  if (match.branches && match.previous != 0) automaton.prefetch_text(match.previous, 1);
}

void prefetch_branches(const SuffixAutomaton& automaton, const Cursor& cursor) {
  const SuffixAutomaton::Match match = cursor.match(automaton);
  if (!match.branches || match.count <= 1 || match.end >= automaton.size()) return;
  automaton.prefetch_branch(match.state, automaton.text(match.end));
  if (match.previous != 0) automaton.prefetch_branch(match.state, automaton.text(match.previous));
}

}  // namespace

SourceSet::SourceSet(std::shared_ptr<TextSource> own) : own_(std::move(own)) {
  others_.reserve(kMaxSources);
  proposals_.reserve(kMaxSources + 1);
  recent_.reserve(2 * kRecent);
  owed_.reserve(Rhythm::kApart + kMaxDraftTokens);
}

size_t SourceSet::start(std::span<const int32_t> tokens) {
  const size_t first_new = own_->sync(tokens);
  rhythm_ = {};
  owed_.clear();
  proposals_.clear();
  recent_.clear();
  total_ += kRecent;  // whatever the cursors had seen is behind: they start again from the last tokens
  remember(tokens);
  return first_new;
}

void SourceSet::emit(std::span<const int32_t> tokens) {
  proposals_.clear();
  owed_.insert(owed_.end(), tokens.begin(), tokens.end());
  rhythm_.emitted(tokens.size());
  if (due()) flush();
}

void SourceSet::flush() {
  if (owed_.empty()) return;
  own_->append(owed_);
  remember(owed_);
  owed_.clear();
}

void SourceSet::remember(std::span<const int32_t> tokens) {
  total_ += tokens.size();
  tokens = tokens.last(std::min(tokens.size(), kRecent));
  if (recent_.size() + tokens.size() > 2 * kRecent)
    recent_.erase(recent_.begin(), recent_.end() - static_cast<ptrdiff_t>(kRecent));
  recent_.insert(recent_.end(), tokens.begin(), tokens.end());
}

bool SourceSet::attach(SourceKind kind, std::shared_ptr<const TextSource> source, double similarity) {
  const auto is_it = [&](const Other& other) { return other.source == source; };
  if (others_.size() == kMaxSources || source == own_ || std::any_of(others_.begin(), others_.end(), is_it))
    return false;
  proposals_.clear();
  others_.push_back({kind, std::move(source), Cursor(), 0, 0, 0, 0, std::clamp(similarity, 0.0, 1.0)});
  return true;
}

std::span<const Proposal> SourceSet::look(int limit, uint32_t min_match) {
  proposals_.clear();
  const TextSource::Reader own = own_->try_read();
  look_own(own, limit, min_match);
  look_others(limit, min_match);
  if (!proposals_.empty()) classify(own);
  return proposals_;
}

void SourceSet::look_own(const TextSource::Reader& own, int limit, uint32_t min_match) {
  // While the prompt is still being read in, the automaton's end is not the sequence's.
  if (!own || !own.complete()) return;
  const SuffixAutomaton::Match match = own.automaton().prior();
  if (match.length == 0 || match.length < min_match) return;
  Proposal proposal;
  proposal.length =
      follow(own.automaton(), match, true, std::span(proposal.tokens).first(static_cast<size_t>(limit)));
  if (proposal.length == 0) return;
  describe(own.automaton(), match, match.end > own.own_begin() ? SourceKind::kOwn : SourceKind::kSession,
           proposal);
  proposals_.push_back(proposal);
}

void SourceSet::describe(const SuffixAutomaton& automaton, const SuffixAutomaton::Match& match,
                         SourceKind kind, Proposal& proposal) {
  proposal.match.kind = kind;
  proposal.match_length = match.length;
  proposal.among = automaton.size();
  proposal.state = match.state;
  proposal.count = match.count;
  const bool parted = match.count > 1 && match.branches;
  proposal.evidence =
      evidence_of(match.count, parted ? count_of(automaton, match.state, proposal.tokens[0]) : match.count);
}

// What can be said of the proposals when all are known.
void SourceSet::classify(const TextSource::Reader& own) {
  const Bits bits = own && own.complete() ? bits_of_recent(own.automaton()) : Bits{};
  for (Proposal& proposal : proposals_) {
    const uint32_t length = proposal.match_length;
    const double said = length <= bits.size() ? bits[length - 1] - std::log2(proposal.among) : 0;
    proposal.match.bucket = static_cast<uint8_t>(MatchClass::bucket_of(length, said));
    proposal.match.voice = voice_of(proposal);
  }
}

// Of the sequence's last tokens, in its own text. Frequent tokens meet by chance, rare ones do not: a match
// of two rare tokens says more than one of four frequent ones.
SourceSet::Bits SourceSet::bits_of_recent(const SuffixAutomaton& automaton) const {
  Bits bits;
  double sum = 0;
  for (size_t i = 0; i < bits.size(); ++i) {
    if (i < recent_.size()) {
      const uint32_t state = automaton.next(SuffixAutomaton::kRoot, recent_[recent_.size() - 1 - i]);
      const uint32_t count = state == SuffixAutomaton::kNone ? 1 : std::max(automaton.count(state), 1u);
      sum += std::log2(static_cast<double>(automaton.size()) / count);
    }
    bits[i] = sum;
  }
  return bits;
}

// The first tokens of different sources, compared.
Voice SourceSet::voice_of(const Proposal& proposal) const {
  bool agreed = false, disputed = false;
  for (const Proposal& other : proposals_) {
    if (&other == &proposal) continue;
    const bool same = other.tokens[0] == proposal.tokens[0];
    agreed |= same;
    disputed |= !same && other.match_length >= proposal.match_length;
  }
  return agreed == disputed ? Voice::kOpen : agreed ? Voice::kAgreed : Voice::kDisputed;
}

void SourceSet::weigh(const Proposal& proposal, DraftEvidence& evidence) const {
  evidence.fill(proposal.evidence);
  if (proposal.count <= 1) return;
  const TextSource& source =
      proposal.source == 0 ? *own_ : *others_[static_cast<size_t>(proposal.source) - 1].source;
  const TextSource::Reader reader = source.try_read();
  if (!reader) return;
  const SuffixAutomaton& automaton = reader.automaton();
  uint32_t state = proposal.state, count = proposal.count;
  for (int i = 0; i < proposal.length; ++i) {
    const auto at = static_cast<size_t>(i);
    state = automaton.next(state, proposal.tokens[at]);
    const uint32_t of_it = state == SuffixAutomaton::kNone ? 1 : automaton.count(state);
    if (i > 0) evidence[at] = evidence_of(count, of_it);
    count = std::min(count, of_it);
    if (count > 1) continue;
    std::fill(evidence.begin() + i + 1, evidence.end(), Evidence::kSingle);
    return;
  }
}

void SourceSet::look_others(int limit, uint32_t min_match) {
  Readers readers;
  for (size_t i = 0; i < others_.size(); ++i) readers[i] = others_[i].source->try_read();
  follow_others(readers);
  const auto matches = [&](size_t i) {
    return readers[i] && others_[i].cursor.length() >= std::max(min_match, 1u);
  };
  // As for the cursors: what all proposals read is asked for before the first is made.
  for (size_t i = 0; i < others_.size(); ++i)
    if (matches(i)) prefetch_text(readers[i].automaton(), others_[i].cursor, limit);
  for (size_t i = 0; i < others_.size(); ++i)
    if (matches(i)) prefetch_branches(readers[i].automaton(), others_[i].cursor);
  for (size_t i = 0; i < others_.size(); ++i)
    if (matches(i)) propose(i, readers[i].automaton(), limit, min_match);
}

// The cursors of the sources that can be read take what the sequence has said since they were last there.
void SourceSet::follow_others(const Readers& readers) {
  std::array<Walk, kMaxSources> walks;
  std::array<uint8_t, kMaxSources> going;
  size_t count = 0;
  for (size_t i = 0; i < others_.size(); ++i) {
    if (!readers[i]) continue;
    const size_t behind = restart(others_[i], readers[i].automaton());
    others_[i].seen = total_;
    walks[i] = Walk(readers[i].automaton(), others_[i].cursor, std::span(recent_).last(behind));
    going[count++] = static_cast<uint8_t>(i);
  }
  while (count > 0) {
    size_t left = 0;
    for (size_t at = 0; at < count; ++at)
      if (walks[going[at]].step()) going[left++] = going[at];
    count = left;
  }
}

void SourceSet::propose(size_t other, const SuffixAutomaton& automaton, int limit, uint32_t min_match) {
  const Cursor& cursor = others_[other].cursor;
  uint32_t state = cursor.state(), length = cursor.length();
  Proposal& proposal = proposals_.emplace_back();
  for (int climb = 0; climb <= kMaxClimb && length > 0 && length >= min_match; ++climb) {
    const SuffixAutomaton::Match match = automaton.match(state, length);
    proposal.length =
        follow(automaton, match, false, std::span(proposal.tokens).first(static_cast<size_t>(limit)));
    if (proposal.length > 0) {
      proposal.source = static_cast<int>(other) + 1;
      describe(automaton, match, others_[other].kind, proposal);
      return;
    }
    state = automaton.link(state);
    length = automaton.length(state);
  }
  proposals_.pop_back();
}

// How many of the sequence's last tokens the cursor has to take; it is repaired, and set back if it is too
// far behind.
size_t SourceSet::restart(Other& other, const SuffixAutomaton& automaton) const {
  uint64_t behind = total_ - other.seen;
  if (behind > recent_.size()) {
    other.cursor.reset();
    behind = std::min(kWarm, recent_.size());
  }
  if (other.states != automaton.state_count()) other.cursor.repair(automaton);
  other.states = automaton.state_count();
  return static_cast<size_t>(behind);
}

double SourceSet::trust(int source) const {
  if (source == 0) return 1;
  const Other& other = others_[static_cast<size_t>(source) - 1];
  return (other.hits + kTrustWeight * other.similarity) / (other.expected + kTrustWeight);
}

void SourceSet::judge(int source, double expected, bool accepted) {
  if (source == 0) return;
  Other& other = others_[static_cast<size_t>(source) - 1];
  other.expected += expected;
  other.hits += accepted ? 1 : 0;
  if (other.expected <= kTrustMemory) return;
  const double fade = kTrustMemory / other.expected;
  other.expected *= fade;
  other.hits *= fade;
}

}  // namespace agentinfer
