// When a plan is run again without asking: the rule against one written down anew, what repeated steps carry,
// and that anything queued on the thread ends it.

#include "engine/plan_run.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "check.h"
#include "engine/worker.h"

using namespace agentinfer;

namespace {

StepPlan full_plan(std::mt19937& random) {
  StepPlan plan;
  plan.now = static_cast<double>(random() % 1000);
  plan.rows = {1, 1, 0, 2, 1, 4};
  plan.preempt = {3};
  plan.retain = {7, 1, 99};
  plan.prefetch = {7};
  plan.drafts = {2, 1};
  plan.draft_tokens = {11};
  plan.probe = {4, 5};
  plan.demand = true;
  plan.ahead = static_cast<int32_t>(random() % 6);
  return plan;
}

// What a step may bring that makes the plan another's matter.
enum class Event {
  kNothing,
  kStopped,
  kLength,
  kDeferred,
  kFailed,
  kGone,
  kProbe,
  kError,
  kUnhealthy,
  kNobody,
  kCount
};

void outcome(StepResult& result, int32_t id, OutcomeKind kind, FinishReason finish) {
  std::array<int32_t, kOutcome.size()> record{};
  for (size_t i = 0; i < kOutcome.size(); ++i) {
    const std::string_view name = kOutcome[i];
    record[i] = name == "sequence" ? id
                : name == "kind"   ? static_cast<int32_t>(kind)
                : name == "finish" ? static_cast<int32_t>(finish)
                : name == "error"  ? -1
                                   : 5;
  }
  result.outcomes.insert(result.outcomes.end(), record.begin(), record.end());
}

// `event` befalls one of three sequences, whichever; the others go on.
StepResult result_with(Event event, std::mt19937& random) {
  StepResult result;
  result.pool = {10, 5, 2, 3, 0, 0, 1};
  if (event == Event::kNobody) return result;
  const auto at = static_cast<int32_t>(random() % 3);
  for (int32_t id = 0; id < 3; ++id) {
    OutcomeKind kind = OutcomeKind::kCommitted;
    FinishReason finish = FinishReason::kNone;
    if (id == at) {
      if (event == Event::kStopped) finish = FinishReason::kStop;
      if (event == Event::kLength) finish = FinishReason::kLength;
      if (event == Event::kDeferred) kind = OutcomeKind::kDeferred;
      if (event == Event::kFailed) kind = OutcomeKind::kFailed;
      if (event == Event::kGone) kind = OutcomeKind::kGone;
    }
    outcome(result, id, kind, finish);
  }
  if (event == Event::kProbe) result.probes.assign(kProbe.size(), 1);
  if (event == Event::kError) result.errors.push_back({"ERR_INTERNAL", "on purpose"});
  if (event == Event::kUnhealthy) result.unhealthy = "on purpose";
  return result;
}

}  // namespace

TEST("a plan runs until its count, an event or a call for the thread, whichever comes first") {
  std::mt19937 random(1);
  std::array<int, static_cast<size_t>(Event::kCount)> ended{};
  for (int round = 0; round < 4000; ++round) {
    const StepPlan plan = full_plan(random);
    std::vector<Event> events;
    std::vector<bool> calls;
    for (int32_t i = 0; i <= plan.ahead; ++i) {
      events.push_back(random() % 4 != 0
                           ? Event::kNothing
                           : static_cast<Event>(random() % static_cast<uint32_t>(Event::kCount)));
      calls.push_back(random() % 8 == 0);
    }
    size_t steps = 1;
    while (steps <= static_cast<size_t>(plan.ahead) && events[steps - 1] == Event::kNothing &&
           !calls[steps - 1])
      ++steps;
    ++ended[static_cast<size_t>(events[steps - 1])];

    std::vector<StepPlan> ran;
    std::vector<StepResult> published;
    run_plan(plan, {.step =
                        [&](const StepPlan& next) {
                          CHECK_EQ(published.size(), ran.size());  // the one before is published already
                          ran.push_back(next);
                          return result_with(events.at(ran.size() - 1), random);
                        },
                    .publish = [&](StepResult result) { published.push_back(std::move(result)); },
                    .wanted = [&] { return static_cast<bool>(calls.at(ran.size() - 1)); }});
    CHECK_EQ(ran.size(), steps);
    CHECK_EQ(published.size(), steps);
    for (size_t i = 0; i < steps; ++i) {
      CHECK_EQ(published[i].repeat, static_cast<int32_t>(i));
      CHECK_EQ(published[i].more, i + 1 < steps);
      CHECK(i == 0 ? published[i].gap == 0 : published[i].gap >= 0);
      CHECK(ran[i].rows == plan.rows);
      CHECK(i == 0 ? ran[i].now == plan.now : ran[i].now >= ran[i - 1].now);
      const bool first = i == 0;
      CHECK_EQ(ran[i].preempt.size(), first ? 1u : 0u);
      CHECK_EQ(ran[i].retain.size(), first ? 3u : 0u);
      CHECK_EQ(ran[i].prefetch.size() + ran[i].drafts.size() + ran[i].draft_tokens.size(), first ? 4u : 0u);
      CHECK_EQ(ran[i].probe.size(), first ? 2u : 0u);
      CHECK_EQ(ran[i].demand, first);
    }
  }
  for (const int count : ended) CHECK(count > 20);
}

TEST("results may be kept while others follow, never the plan's last two, and come in order, once each") {
  std::mt19937 random(5);
  int kept = 0;
  for (int round = 0; round < 2000; ++round) {
    StepPlan plan = full_plan(random);
    plan.ahead = static_cast<int32_t>(random() % 100);
    plan.hold = random() % 4 == 0 ? 1e-6 : 1e6;
    const auto ends_at = static_cast<int32_t>(random() % 120);
    int32_t ran = 0, published = 0;
    run_plan(plan, {.step =
                        [&](const StepPlan&) {
                          // What ends the plan, and what comes before its last step, is there before another
                          // runs.
                          if (ran == plan.ahead) CHECK_EQ(published, ran);
                          CHECK(published <= ran && ran - published <= 64);
                          if (plan.hold < 1) CHECK(ran - published <= 1);
                          kept = std::max(kept, ran - published);
                          return result_with(ran++ == ends_at ? Event::kLength : Event::kNothing, random);
                        },
                    .publish =
                        [&](const StepResult& result) {
                          CHECK_EQ(result.repeat, published++);
                          CHECK(result.held >= 0);
                          CHECK_EQ(result.more, result.repeat < std::min(plan.ahead, ends_at));
                        },
                    .wanted = [] { return false; }});
    CHECK_EQ(published, ran);
  }
  CHECK_EQ(kept, 64);
}

TEST("results are kept for no longer than the plan says, and say for how long") {
  std::mt19937 random(6);
  StepPlan plan = full_plan(random);
  plan.ahead = 40;
  plan.hold = 10;
  std::vector<int32_t> together;  // results that came at once
  double most = 0;
  int steps = 0, seen = -1;
  run_plan(plan, {.step =
                      [&](const StepPlan&) {
                        ++steps;
                        std::this_thread::sleep_for(std::chrono::milliseconds(3));
                        return result_with(Event::kNothing, random);
                      },
                  .publish =
                      [&](const StepResult& result) {
                        if (steps != seen) together.push_back(0);
                        seen = steps;
                        ++together.back();
                        most = std::max(most, result.held);
                      },
                  .wanted = [] { return false; }});
  CHECK_EQ(std::accumulate(together.begin(), together.end(), 0), 41);
  CHECK(most >= 6);                 // at least two steps
  CHECK(together.size() > 41 / 5);  // 10 ms have room for the ends of four steps at most, and the one after
}

TEST("results of steps that take longer than the plan's patience are published at once") {
  std::mt19937 random(7);
  StepPlan plan = full_plan(random);
  plan.ahead = 5;
  plan.hold = 2;
  int32_t ran = 0, published = 0;
  run_plan(plan, {.step =
                      [&](const StepPlan&) {
                        CHECK_EQ(published, ran++);
                        std::this_thread::sleep_for(std::chrono::milliseconds(3));
                        return result_with(Event::kNothing, random);
                      },
                  .publish = [&](const StepResult&) { ++published; },
                  .wanted = [] { return false; }});
  CHECK_EQ(published, 6);
}

TEST("the clock of repeated steps goes on with the time that passes") {
  std::mt19937 random(2);
  StepPlan plan = full_plan(random);
  plan.ahead = 3;
  std::vector<double> times;
  double last_gap = 0;
  run_plan(plan, {.step =
                      [&](const StepPlan& next) {
                        times.push_back(next.now);
                        std::this_thread::sleep_for(std::chrono::milliseconds(2));
                        return result_with(Event::kNothing, random);
                      },
                  .publish =
                      [&](const StepResult& result) {
                        last_gap = result.gap;
                        std::this_thread::sleep_for(std::chrono::milliseconds(3));
                      },
                  .wanted = [] { return false; }});
  CHECK_EQ(times.size(), 4u);
  for (size_t i = 1; i < times.size(); ++i) CHECK(times[i] - times[i - 1] >= 0.005);
  CHECK(last_gap >= 3);  // publishing lies between two steps
}

TEST("any job queued on the thread makes the step in flight the last, and runs before the next plan") {
  for (int at = 0; at < 5; ++at) {
    std::vector<int> order;  // steps of the first plan: 1, the job: 2, the second plan: 3
    std::mt19937 random(3);
    Worker worker;
    const auto run = [&](int name, int32_t ahead, int interrupted_at) {
      StepPlan plan;
      plan.rows = {1, 1, 0};
      plan.ahead = ahead;
      int steps = 0;
      run_plan(plan, {.step =
                          [&](const StepPlan&) {
                            order.push_back(name);
                            if (steps++ == interrupted_at) {
                              worker.submit([&order] { order.push_back(2); });
                              worker.submit([] {});
                            }
                            return result_with(Event::kNothing, random);
                          },
                      .publish = [](const StepResult&) {},
                      .wanted = [&] { return worker.wanted(); }});
    };
    std::atomic<bool> over{false};
    worker.submit([&] {
      run(1, 100, at);
      over = true;
    });
    while (!over) std::this_thread::yield();
    worker.submit([&] { run(3, 0, -1); });
    worker.stop();
    std::vector<int> expected(static_cast<size_t>(at) + 1, 1);
    expected.insert(expected.end(), {2, 3});
    CHECK(order == expected);
  }
}

TEST("an engine's thread that is to stop ends a plan without end") {
  std::mt19937 random(4);
  std::atomic<int> steps{0};
  Worker worker;
  worker.submit([&] {
    StepPlan plan;
    plan.ahead = 1 << 30;
    run_plan(plan, {.step =
                        [&](const StepPlan&) {
                          ++steps;
                          return result_with(Event::kNothing, random);
                        },
                    .publish = [](const StepResult&) {},
                    .wanted = [&] { return worker.wanted(); }});
  });
  while (steps < 10) std::this_thread::yield();
  worker.stop();
  CHECK(steps >= 10);
}

CHECK_MAIN
