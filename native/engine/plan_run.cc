#include "engine/plan_run.h"

#include <chrono>
#include <utility>

#include "engine/outcome.h"

namespace agentinfer {
namespace {

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
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const double now = plan.now;
  double gap = 0;
  for (int32_t repeat = 0;; ++repeat) {
    StepResult result = host.step(plan);
    const auto ended = Clock::now();
    result.repeat = repeat;
    result.gap = gap;
    result.more = repeat < plan.ahead && plan_holds(result) && !host.wanted();
    const bool more = result.more;
    host.publish(std::move(result));
    if (!more) return;
    if (repeat == 0) leave_out_what_is_done(plan);
    const auto begins = Clock::now();
    plan.now = now + std::chrono::duration<double>(begins - start).count();
    gap = std::chrono::duration<double, std::milli>(begins - ended).count();
  }
}

}  // namespace agentinfer
