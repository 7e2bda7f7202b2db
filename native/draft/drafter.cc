#include "draft/drafter.h"

#include <algorithm>
#include <utility>

namespace agentinfer {

namespace {

// Between proposals whose expected gains are about equal, the nearer kind of source is taken.
constexpr double kKindStep = 0.01;
constexpr double kMostCertain = 0.995;

}  // namespace

Drafter::Drafter(DrafterOptions options, StepCost cost)
    : options_(std::move(options)), cost_(std::move(cost)), admission_(options_.admission) {}

void Drafter::propose(SourceSet& sources, int limit, Draft& draft) {
  draft.length = 0;
  draft.expected = 0;
  if (limit <= 0) return;
  const std::span<const Proposal> proposals =
      sources.look(std::min(limit, kMaxDraftTokens), options_.own_min_match, options_.min_match);
  const Proposal* best = nullptr;
  double best_score = 0, best_factor = 1;
  for (const Proposal& proposal : proposals) {
    const double first = acceptance_.acceptance(proposal.match, 0);
    const double factor = std::min(sources.trust(proposal.source), kMostCertain / first);
    const double expected = factor * acceptance_.expected(proposal.match, proposal.length);
    const double score = expected * (1 - kKindStep * static_cast<double>(proposal.match.kind));
    if (best && !(score > best_score)) continue;
    best = &proposal;
    best_score = score;
    best_factor = factor;
    draft.expected = expected;
  }
  if (!best) return;
  draft.length = best->length;
  draft.kind = best->match.kind;
  draft.match_length = best->match_length;
  draft.tokens = best->tokens;
  const std::span<double> survival = std::span(draft.survival).first(static_cast<size_t>(draft.length));
  acceptance_.survival(best->match, survival);
  for (double& chance : survival) chance *= best_factor;

  SourceSet::Pending& pending = sources.pending();
  if (pending.decided >= pending.length) pending = {best->match, 0, best->length, best->tokens};
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
  admission_.choose(offers_, load, cost_.curve(), lengths);
}

void Drafter::commit(SourceSet& sources, std::span<const int32_t> emitted) {
  if (emitted.empty()) return;
  learn_first(sources, emitted[0]);
  learn_pending(sources, emitted);
  sources.emit(emitted);
}

void Drafter::learn_first(SourceSet& sources, int32_t emitted) {
  for (const Proposal& proposal : sources.proposals()) {
    const bool right = proposal.tokens[0] == emitted;
    sources.judge(proposal.source, acceptance_.acceptance(proposal.match, 0), right);
    acceptance_.record(proposal.match, 0, right);
  }
}

// Position 0 is learn_first's. The later ones are decided by what is emitted in this step and the next ones,
// whether they were verified together or not.
void Drafter::learn_pending(SourceSet& sources, std::span<const int32_t> emitted) {
  SourceSet::Pending& pending = sources.pending();
  for (const int32_t token : emitted) {
    if (pending.decided >= pending.length) return;
    const bool right = pending.tokens[static_cast<size_t>(pending.decided)] == token;
    if (pending.decided > 0) acceptance_.record(pending.match, pending.decided, right);
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
  if (step.rows > load.tokens && load.yield > 0) {
    const double plain = load.fixed_seconds + cost_.at(load.tokens);
    const double with_drafts = load.fixed_seconds + step.draft_context + cost_.at(step.rows);
    counters_.saved_seconds += step.accepted * plain / load.yield - (with_drafts - plain);
  }
  if (step.seconds > 0) cost_.observe(step.rows, load.fixed_seconds + step.draft_context, step.seconds);
}

}  // namespace agentinfer
