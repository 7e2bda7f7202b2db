// Acceptance counts and the step cost table against what they should converge to.

#include "draft/acceptance.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "draft/step_cost.h"

using namespace agentinfer;

namespace {

std::vector<MatchClass> all_classes() {
  std::vector<MatchClass> out;
  for (int kind = 0; kind < kSourceKinds; ++kind)
    for (int bucket = 0; bucket < MatchClass::kBuckets; ++bucket)
      for (int evidence = 0; evidence < 3; ++evidence)
        out.push_back(
            {static_cast<SourceKind>(kind), static_cast<uint8_t>(bucket), static_cast<Evidence>(evidence)});
  return out;
}

}  // namespace

TEST("each class has its own index and each length its bucket") {
  std::vector<int> indices;
  for (const MatchClass& match : all_classes()) indices.push_back(match.index());
  std::vector<int> expected(MatchClass::kCount);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(indices == expected);
  const std::vector<std::pair<uint32_t, int>> buckets{{1, 0},  {2, 1},  {3, 2},  {4, 3},     {5, 4},  {6, 4},
                                                      {7, 5},  {8, 5},  {9, 6},  {12, 6},    {13, 7}, {16, 7},
                                                      {17, 8}, {32, 8}, {33, 9}, {100000, 9}};
  for (const auto& [length, bucket] : buckets) CHECK_EQ(MatchClass::bucket_of(length), bucket);
}

TEST("survival falls along the draft and sums to the expected tokens, before and after random outcomes") {
  std::mt19937_64 random(1);
  AcceptanceTable table;
  const std::vector<MatchClass> classes = all_classes();
  for (int round = 0; round < 2000; ++round) {
    const MatchClass& match = classes[random() % classes.size()];
    table.record(match, static_cast<int>(random() % kMaxDraftTokens), random() % 3 == 0);
    std::vector<double> survival(kMaxDraftTokens);
    table.survival(match, survival);
    double sum = 0, product = 1;
    for (int i = 0; i < kMaxDraftTokens; ++i) {
      CHECK(survival[static_cast<size_t>(i)] > 0 && survival[static_cast<size_t>(i)] <= product);
      product *= table.acceptance(match, i);
      CHECK_EQ(survival[static_cast<size_t>(i)], product);
      sum += product;
      CHECK_NEAR(table.expected(match, i + 1), sum, 1e-12);
    }
    CHECK_EQ(table.expected(match, 0), 0.0);
  }
}

TEST("an estimate reaches the true rate, follows a change, and leaves other classes alone") {
  std::mt19937_64 random(2);
  AcceptanceTable table;
  const MatchClass match{SourceKind::kSibling, 4, Evidence::kUnanimous},
      other{SourceKind::kSibling, 4, Evidence::kSingle};
  const double before = table.acceptance(other, 3), neighbour = table.acceptance(match, 2);
  for (const double rate : {0.9, 0.1, 0.5}) {
    for (int i = 0; i < 1500; ++i) table.record(match, 3, static_cast<double>(random() % 1000) < rate * 1000);
    CHECK_NEAR(table.acceptance(match, 3), rate, 0.1);
  }
  CHECK_EQ(table.acceptance(other, 3), before);
  CHECK_EQ(table.acceptance(match, 2), neighbour);
}

TEST("priors: longer matches are trusted more, own context more than others, contradiction less") {
  const AcceptanceTable table;
  for (int bucket = 1; bucket < MatchClass::kBuckets; ++bucket)
    CHECK(table.acceptance({SourceKind::kOwn, static_cast<uint8_t>(bucket), Evidence::kSingle}, 0) >
          table.acceptance({SourceKind::kOwn, static_cast<uint8_t>(bucket - 1), Evidence::kSingle}, 0));
  for (int kind = 1; kind < kSourceKinds; ++kind)
    CHECK(table.acceptance({static_cast<SourceKind>(kind), 5, Evidence::kSingle}, 0) <
          table.acceptance({SourceKind::kOwn, 5, Evidence::kSingle}, 0));
  CHECK(table.acceptance({SourceKind::kOwn, 5, Evidence::kBranching}, 0) <
        table.acceptance({SourceKind::kOwn, 5, Evidence::kSingle}, 0));
}

TEST("step cost: interpolated between points, extrapolated behind them, constant before") {
  const StepCost cost({{8, 0.020}, {2, 0.010}, {4, 0.012}});
  CHECK_NEAR(cost.at(1), 0.010, 1e-15);
  CHECK_NEAR(cost.at(3), 0.011, 1e-15);
  CHECK_NEAR(cost.at(6), 0.016, 1e-15);
  CHECK_NEAR(cost.at(12), 0.028, 1e-15);
  CHECK_NEAR(StepCost({{1, 0.5}}).at(100), 0.5, 1e-15);
}

TEST("step cost: never falls with tokens, whatever was measured") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<CostPoint> profile;
    for (int tokens = 1; tokens < 600; tokens += 1 + static_cast<int>(random() % 60))
      profile.push_back({tokens, 1e-3 * static_cast<double>(1 + random() % 100)});
    StepCost cost(profile);
    for (int step = 0; step < 50; ++step) {
      cost.observe(1 + static_cast<int>(random() % 700), 0, 1e-4 * static_cast<double>(random() % 3000));
      double previous = 0;
      for (int tokens = 1; tokens < 700; tokens += 7) {
        CHECK(cost.at(tokens) >= previous * (1 - 1e-12) && cost.at(tokens) > 0);  // up to rounding
        previous = cost.at(tokens);
      }
    }
  }
}

TEST("step cost: a wrong profile is corrected by what is measured; one outlier moves little") {
  std::mt19937_64 random(4);
  const auto truth = [](int tokens, double context) { return 0.010 + 0.0004 * tokens + 1e-7 * context; };
  StepCost cost({{1, 0.1}, {2, 0.1}, {4, 0.1}, {8, 0.1}, {16, 0.1}, {32, 0.1}});
  for (int step = 0; step < 4000; ++step) {
    const int tokens = 1 + static_cast<int>(random() % 32);
    const double context = static_cast<double>(random() % 30000);
    cost.observe(tokens, 1e-7 * context,
                 truth(tokens, context) * (0.95 + 0.1 * static_cast<double>(random() % 1000) / 1000));
  }
  for (const int tokens : {1, 2, 5, 8, 12, 16, 25, 32})
    CHECK_NEAR(cost.at(tokens), truth(tokens, 0), 0.08 * truth(tokens, 0));
  const double before = cost.at(8);
  cost.observe(8, 0, 100.0);
  CHECK(cost.at(8) < 1.2 * before);
}

TEST("step cost: what every step pays beside its rows is not taken for the price of rows") {
  std::mt19937_64 random(5);
  const StepCost profiled({{1, 0.001}, {2, 0.0012}, {4, 0.0016}, {8, 0.0026}, {16, 0.0046}});
  StepCost waiting = profiled, slower = profiled;
  // Lengths as drafting has them: mostly 1, seldom above 5. 16 is never seen.
  for (int step = 0; step < 600; ++step) {
    const int tokens = random() % 3 ? 1 : 1 + static_cast<int>(random() % 5);
    const double noise = 0.8 + 0.4 * static_cast<double>(random() % 1000) / 1000;
    waiting.observe(tokens, 0, (profiled.at(tokens) + 0.020) * noise);
    slower.observe(tokens, 0, profiled.at(tokens) * 5 * noise);
  }
  CHECK_NEAR(waiting.at(1), 0.021, 0.003);
  CHECK(waiting.at(16) < 0.060);
  CHECK_NEAR(slower.at(1), 0.005, 0.001);
  CHECK_NEAR(slower.at(16), 0.023, 0.012);
}

TEST("step cost: a bad profile is refused with its values") {
  CHECK_THROWS(StepCost({}), ErrorCode::kInvalidArgument, "got none");
  CHECK_THROWS(StepCost({{0, 1.0}}), ErrorCode::kInvalidArgument, "got 0 and 1");
  CHECK_THROWS(StepCost({{1, -1.0}}), ErrorCode::kInvalidArgument, "got 1 and -1");
  CHECK_THROWS(StepCost({{1, NAN}}), ErrorCode::kInvalidArgument, "nan");
  CHECK_THROWS(StepCost({{3, 1.0}, {3, 2.0}}), ErrorCode::kInvalidArgument, "3 tokens");
  CHECK_THROWS(StepCost({{1, 1.0}}, {.per_sequence = 0, .per_row = -1}), ErrorCode::kInvalidArgument,
               "context");
}

CHECK_MAIN
