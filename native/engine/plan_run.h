#pragma once
// A plan carried out as often as it says: once, and again without asking while nothing has happened that
// could change it. So the next step begins while JavaScript still reads the last one's result.

#include <functional>

#include "engine/step.h"

namespace agentinfer {

// Where a plan runs. All of it is called on the thread of run_plan.
struct PlanHost {
  std::function<StepResult(const StepPlan& plan)> step;
  // Gets each result, in order: `repeat`, `gap`, `held` and `more` are set. At once, before the next step
  // begins, where the plan has no `hold`; else those of a while together, since each waking of JavaScript
  // takes a core from the steps for some tenths of a millisecond.
  std::function<void(StepResult result)> publish;
  std::function<bool()> wanted;  // whether the thread has something else to do, which may change the plan
};

// Whether everything is as it was before the step, but for tokens: all its sequences go on, nothing was
// found out about those that wait, nothing failed.
bool plan_holds(const StepResult& result);

// Runs at least one step, at most 1 + plan.ahead. What only the first of them does (preempt, retain,
// prefetch, verify the plan's drafts, look things up) is left out of the others; `now` goes on with the time
// that passes. Throws what the host throws.
void run_plan(StepPlan plan, const PlanHost& host);

}  // namespace agentinfer
