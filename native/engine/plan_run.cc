#include "engine/plan_run.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "engine/outcome.h"

namespace agentinfer {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// Results on their way to the host.
class Results {
 public:
  Results(const PlanHost& host, const StepPlan& plan) : host_(host), ahead_(plan.ahead), hold_(plan.hold) {
    if (hold_ <= 0) return;
    try {
      kept_.reserve(static_cast<size_t>(std::clamp(ahead_, 0, kMostKept)));
    } catch (const std::bad_alloc&) {  // they are published one by one
    }
  }

  void add(StepResult result, Clock::time_point begun, Clock::time_point ended) {
    if (may_wait(result, ended, ended - begun)) {
      kept_.push_back({std::move(result), ended});
      return;
    }
    for (Kept& kept : kept_) {
      kept.result.held = milliseconds(Clock::now() - kept.ended);
      host_.publish(std::move(kept.result));
    }
    kept_.clear();
    host_.publish(std::move(result));
  }

 private:
  struct Kept {
    StepResult result;
    Clock::time_point ended;
  };
  static constexpr int32_t kMostKept = 64;

  // Whether nothing will be too old when the next step has ended, if it takes as long as this one. And not
  // what comes before the plan's last step: it is read beside that one, and the next plan waits for one
  // result only.
  bool may_wait(const StepResult& result, Clock::time_point ended, Clock::duration step) const {
    const Clock::time_point oldest = kept_.empty() ? ended : kept_.front().ended;
    return result.more && result.repeat + 1 < ahead_ && kept_.size() < kept_.capacity() &&
           milliseconds(ended - oldest + step) < hold_;
  }

  const PlanHost& host_;
  int32_t ahead_;
  double hold_;
  std::vector<Kept> kept_;
};

void leave_out_what_is_done(StepPlan& plan) {
  plan.preempt.clear();
  plan.retain.clear();
  plan.prefetch.clear();
  plan.drafts.clear();
  plan.draft_tokens.clear();
  plan.probe.clear();
  plan.demand = false;
}

}  // namespace

bool plan_holds(const StepResult& result) {
  if (!result.unhealthy.empty() || !result.errors.empty() || !result.probes.empty()) return false;
  if (result.outcomes.empty()) return false;
  for (int i = 0; i < outcome_count(result); ++i)
    if (field(result, i, OutcomeField::kKind) != static_cast<int32_t>(OutcomeKind::kCommitted) ||
        field(result, i, OutcomeField::kFinish) != static_cast<int32_t>(FinishReason::kNone))
      return false;
  return true;
}

void run_plan(StepPlan plan, const PlanHost& host) {
  const auto start = Clock::now();
  const double now = plan.now;
  double gap = 0;
  Results results(host, plan);
  for (int32_t repeat = 0;; ++repeat) {
    const auto step_begun = Clock::now();
    StepResult result = host.step(plan);
    const auto ended = Clock::now();
    result.repeat = repeat;
    result.gap = gap;
    result.more = repeat < plan.ahead && plan_holds(result) && !host.wanted();
    const bool more = result.more;
    results.add(std::move(result), step_begun, ended);
    if (!more) return;
    if (repeat == 0) leave_out_what_is_done(plan);
    const auto begins = Clock::now();
    plan.now = now + std::chrono::duration<double>(begins - start).count();
    gap = milliseconds(begins - ended);
  }
}

}  // namespace agentinfer
