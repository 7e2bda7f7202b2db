#include "draft/drafter.h"

#include <algorithm>
#include <utility>

namespace agentinfer {

namespace {

// Between proposals whose expected gains are about equal, the nearer kind of source is taken.
constexpr double kKindStep = 0.01;
constexpr double kMostCertain = 0.97;
constexpr double kLongRun = 256;  // steps
constexpr double kFind = 0.03;    // expected accepted tokens that are worth a look in every step

}  // namespace

Drafter::Drafter(DrafterOptions options, StepCost cost)
    : options_(std::move(options)), cost_(std::move(cost)), admission_(options_.admission) {}

void Drafter::propose(SourceSet& sources, int limit, Draft& draft) {
  draft.length = 0;
  draft.expected = 0;
  if (limit <= 0) return;
  const std::span<const Proposal> proposals =
      sources.look(std::min(limit, kMaxDraftTokens), options_.min_match);
  const Proposal* best = nullptr;
  double best_score = 0, best_factor = 1;
  for (const Proposal& proposal : proposals) {
    const double first = acceptance_.acceptance(proposal.match, 0, proposal.evidence);
    const double factor = std::min(sources.trust(proposal.source), kMostCertain / first);
    const double expected = factor * acceptance_.expected(proposal.match, proposal.evidence, proposal.length);
    const double score = expected * (1 - kKindStep * static_cast<double>(proposal.match.kind));
    if (best && !(score > best_score)) continue;
    best = &proposal;
    best_score = score;
    best_factor = factor;
    draft.expected = expected;
  }
  sources.looked(draft.expected >= kFind);
  if (!best) return;
  draft.length = best->length;
  draft.kind = best->match.kind;
  draft.match_length = best->match_length;
  draft.tokens = best->tokens;
  const std::span<double> survival = std::span(draft.survival).first(static_cast<size_t>(draft.length));
  DraftEvidence evidence;
  sources.weigh(*best, evidence);
  acceptance_.survival(best->match, evidence, survival);
  for (double& chance : survival) chance *= best_factor;

  SourceSet::Pending& pending = sources.pending();
  if (pending.decided >= pending.length) pending = {best->match, 0, best->length, best->tokens, evidence};
}

void Drafter::admit(std::span<const Draft* const> drafts, const StepLoad& load, std::span<int> lengths) {
  offers_.clear();
  for (const Draft* draft : drafts) {
    if (draft)
      offers_.push_back(
          {std::span(draft->survival).first(static_cast<size_t>(draft->length)), draft->row_seconds});
    else
      offers_.push_back({});
  }
  StepLoad worthy = load;
  worthy.worth = worth(load);
  admission_.choose(offers_, worthy, cost_.curve(), lengths);
}

// What plain decoding emits in a second of such a step, times what drafting has gained over it.
double Drafter::worth(const StepLoad& load) const {
  const double plain = load.fixed_seconds + cost_.at(load.tokens);
  const double gain = taken_seconds_ > 0 ? plain_seconds_ / taken_seconds_ : 1;
  return std::max(gain, 1.0) * load.yield / plain;
}

void Drafter::commit(SourceSet& sources, std::span<const int32_t> emitted) {
  if (emitted.empty()) return;
  learn_first(sources, emitted[0]);
  learn_pending(sources, emitted);
  sources.emit(emitted);
}

// Sources that say the same on the same grounds are one outcome: copies of a text are no more experience than
// the text.
void Drafter::learn_first(SourceSet& sources, int32_t emitted) {
  const std::span<const Proposal> proposals = sources.proposals();
  for (size_t i = 0; i < proposals.size(); ++i) {
    const Proposal& proposal = proposals[i];
    const bool right = proposal.tokens[0] == emitted;
    sources.judge(proposal.source, acceptance_.acceptance(proposal.match, 0, proposal.evidence), right);
    bool of_kind = true, of_all = true;
    for (const Proposal& other : proposals.first(i)) {
      if (other.tokens[0] != proposal.tokens[0] || other.evidence != proposal.evidence ||
          other.match.bucket != proposal.match.bucket || other.match.voice != proposal.match.voice)
        continue;
      of_all = false;
      of_kind = of_kind && other.match.kind != proposal.match.kind;
    }
    if (of_kind) acceptance_.record(proposal.match, 0, proposal.evidence, right, of_all);
  }
}

// Position 0 is learn_first's. The later ones are decided by what is emitted in this step and the next ones,
// whether they were verified together or not.
void Drafter::learn_pending(SourceSet& sources, std::span<const int32_t> emitted) {
  SourceSet::Pending& pending = sources.pending();
  for (const int32_t token : emitted) {
    if (pending.decided >= pending.length) return;
    const bool right = pending.tokens[static_cast<size_t>(pending.decided)] == token;
    if (pending.decided > 0)
      acceptance_.record(pending.match, pending.decided,
                         pending.evidence[static_cast<size_t>(pending.decided)], right);
    pending.decided = right ? pending.decided + 1 : pending.length;
  }
}

void Drafter::count(const Draft& draft, int drafted, int accepted) {
  DraftCounters::ByKind& kind = counters_.by_kind[static_cast<size_t>(draft.kind)];
  ++kind.drafts;
  kind.drafted += drafted;
  kind.accepted += accepted;
}

void Drafter::finish_step(const StepLoad& load, const Step& step) {
  if (load.yield > 0) {
    const double plain = load.fixed_seconds + cost_.at(load.tokens);
    const double taken =
        step.rows > load.tokens ? load.fixed_seconds + step.draft_context + cost_.at(step.rows) : plain;
    const double saved = step.accepted * plain / load.yield;
    plain_seconds_ += (plain + saved - plain_seconds_) / kLongRun;
    taken_seconds_ += (taken - taken_seconds_) / kLongRun;
    counters_.saved_seconds += saved - (taken - plain);
  }
  if (step.seconds > 0) cost_.observe(step.rows, load.fixed_seconds + step.draft_context, step.seconds);
}

}  // namespace agentinfer
