#include "draft/admission.h"

#include <algorithm>
#include <utility>

#include "tensor/check.h"

namespace agentinfer {

namespace {

// What makes one choice better than another.
class Score {
 public:
  explicit Score(const StepLoad& load, double plain_seconds)
      : worth_(load.worth > 0 ? std::max(load.worth, load.yield / plain_seconds) : 0) {}
  double operator()(double emitted, double seconds) const {
    return worth_ > 0 ? emitted - worth_ * seconds : emitted / seconds;
  }

 private:
  double worth_;
};

}  // namespace

Admission::Admission(AdmissionOptions options) : options_(std::move(options)), steps_(options_.lengths) {
  int previous = 0;
  for (const int length : steps_) {
    if (length <= previous || length > kMaxDraftTokens)
      fail(ErrorCode::kInvalidArgument, "admission: expected draft lengths rising within 1..",
           kMaxDraftTokens, ", got ", length, " after ", previous);
    previous = length;
  }
  for (int length = 1; options_.lengths.empty() && length <= kMaxDraftTokens; ++length)
    steps_.push_back(length);
}

// Within one offer the density never rises, so that sorting by it keeps the groups of an offer in order.
void Admission::list_groups(std::span<const Offer> offers) {
  groups_.clear();
  for (size_t offer = 0; offer < offers.size(); ++offer) {
    const std::span<const double> survival = offers[offer].survival;
    double density = 1;
    int begin = 0;
    for (const int step : steps_) {
      if (static_cast<size_t>(begin) >= survival.size()) break;
      const int end = std::min(step, static_cast<int>(survival.size()));
      double gain = 0;
      for (int i = begin; i < end; ++i) gain += survival[static_cast<size_t>(i)];
      density = std::min(density, gain / (step - begin));
      groups_.push_back({gain, density, step - begin, offers[offer].row_seconds * (step - begin),
                         static_cast<int>(offer), end});
      begin = step;
    }
  }
  std::sort(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) {
    if (a.density != b.density) return a.density > b.density;
    return a.offer != b.offer ? a.offer < b.offer : a.end < b.end;
  });
}

void Admission::choose(std::span<const Offer> offers, const StepLoad& load, std::span<const CostPoint> curve,
                       std::span<int> lengths) {
  std::fill(lengths.begin(), lengths.end(), 0);
  if (options_.uniform) return choose_uniform(offers, load, curve, lengths);
  list_groups(offers);
  const double plain = load.fixed_seconds + cost_at(curve, load.tokens);
  const Score score(load, plain);
  double emitted = load.yield, best = score(emitted, plain), context = 0;
  int rows = 0;
  size_t taken = 0;
  for (size_t i = 0; i < groups_.size() && rows + groups_[i].tokens <= load.room; ++i) {
    emitted += groups_[i].gain;
    rows += groups_[i].tokens;
    context += groups_[i].seconds;
    const double reached = score(emitted, load.fixed_seconds + context + cost_at(curve, load.tokens + rows));
    if (!(reached > best)) continue;
    best = reached;
    taken = i + 1;
  }
  for (size_t i = 0; i < taken; ++i) lengths[static_cast<size_t>(groups_[i].offer)] = groups_[i].end;
}

void Admission::choose_uniform(std::span<const Offer> offers, const StepLoad& load,
                               std::span<const CostPoint> curve, std::span<int> lengths) const {
  const double plain = load.fixed_seconds + cost_at(curve, load.tokens);
  const Score score(load, plain);
  double best = score(load.yield, plain), row_seconds = 0;
  for (const Offer& offer : offers) row_seconds += offer.row_seconds;
  for (const int step : steps_) {
    const int rows = step * static_cast<int>(offers.size());
    if (rows > load.room) break;
    double emitted = load.yield;
    for (const Offer& offer : offers)
      for (size_t i = 0; i < std::min(offer.survival.size(), static_cast<size_t>(step)); ++i)
        emitted += offer.survival[i];
    const double reached =
        score(emitted, load.fixed_seconds + row_seconds * step + cost_at(curve, load.tokens + rows));
    if (!(reached > best)) continue;
    best = reached;
    for (size_t i = 0; i < offers.size(); ++i)
      lengths[i] = std::min(step, static_cast<int>(offers[i].survival.size()));
  }
}

}  // namespace agentinfer
