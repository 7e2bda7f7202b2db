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
      for (int voice = 0; voice < kVoices; ++voice)
        out.push_back(
            {static_cast<SourceKind>(kind), static_cast<uint8_t>(bucket), static_cast<Voice>(voice)});
  return out;
}

constexpr Evidence kAll[] = {Evidence::kSingle, Evidence::kTwice,  Evidence::kUnanimous,
                             Evidence::kMostly, Evidence::kPartly, Evidence::kRarely};

MatchClass of_own(int bucket) {
  return {SourceKind::kOwn, static_cast<uint8_t>(bucket), Voice::kOpen};
}

}  // namespace

TEST("each kind and bucket has its own index; short matches count by what they say, long ones by length") {
  std::vector<int> indices;
  for (const MatchClass& match : all_classes())
    if (match.voice == Voice::kOpen) indices.push_back(match.index());
  std::vector<int> expected(MatchClass::kCount);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(indices == expected);
  const std::vector<std::pair<uint32_t, int>> buckets{{5, 7},   {6, 7},   {7, 8},   {8, 8},
                                                      {9, 9},   {12, 9},  {13, 10}, {16, 10},
                                                      {17, 11}, {32, 11}, {33, 12}, {100000, 12}};
  for (const auto& [length, bucket] : buckets)
    for (const double bits : {-20.0, 0.0, 20.0}) CHECK_EQ(MatchClass::bucket_of(length, bits), bucket);
  for (const uint32_t length : {1u, 2u, 4u}) {
    const std::vector<std::pair<double, int>> by_bits{{-9, 0}, {-3, 1}, {-0.1, 1}, {0, 2}, {1.5, 3},
                                                      {3, 4},  {5, 5},  {7.9, 5},  {8, 6}, {40, 6}};
    for (const auto& [bits, bucket] : by_bits) CHECK_EQ(MatchClass::bucket_of(length, bits), bucket);
  }
}

TEST("evidence: how many of the occurrences went on so") {
  CHECK(evidence_of(1, 1) == Evidence::kSingle && evidence_of(1, 0) == Evidence::kSingle);
  CHECK(evidence_of(2, 2) == Evidence::kTwice && evidence_of(3, 3) == Evidence::kUnanimous);
  CHECK(evidence_of(10, 6) == Evidence::kMostly && evidence_of(10, 5) == Evidence::kPartly);
  CHECK(evidence_of(2, 1) == Evidence::kPartly && evidence_of(4, 1) == Evidence::kPartly);
  CHECK(evidence_of(5, 1) == Evidence::kRarely && evidence_of(7, 0) == Evidence::kRarely);
}

TEST("survival falls along the draft and sums to the expected tokens, before and after random outcomes") {
  std::mt19937_64 random(1);
  AcceptanceTable table;
  const std::vector<MatchClass> classes = all_classes();
  for (int round = 0; round < 2000; ++round) {
    const MatchClass& match = classes[random() % classes.size()];
    const Evidence evidence = kAll[random() % kEvidences];
    table.record(match, static_cast<int>(random() % kMaxDraftTokens), evidence, random() % 3 == 0,
                 random() % 2 == 0);
    const std::vector<Evidence> same(kMaxDraftTokens, evidence);
    std::vector<double> survival(kMaxDraftTokens);
    table.survival(match, same, survival);
    double sum = 0, product = 1;
    for (int i = 0; i < kMaxDraftTokens; ++i) {
      CHECK(survival[static_cast<size_t>(i)] > 0 && survival[static_cast<size_t>(i)] <= product);
      product *= table.acceptance(match, i, evidence);
      CHECK_EQ(survival[static_cast<size_t>(i)], product);
      sum += product;
      CHECK_NEAR(table.expected(match, evidence, i + 1), sum, 1e-12);
    }
    CHECK_EQ(table.expected(match, evidence, 0), 0.0);
  }
}

TEST("an estimate reaches the true rate and follows a change") {
  std::mt19937_64 random(2);
  AcceptanceTable table;
  const MatchClass match{SourceKind::kSibling, 4, Voice::kAgreed};
  for (const int position : {0, 3}) {
    for (const double rate : {0.9, 0.1, 0.5}) {
      for (int i = 0; i < 1500; ++i)
        table.record(match, position, Evidence::kTwice, static_cast<double>(random() % 1000) < rate * 1000);
      CHECK_NEAR(table.acceptance(match, position, Evidence::kTwice), rate, 0.1);
    }
  }
}

TEST("what was not seen leans on other kinds and near positions, and on nothing else") {
  AcceptanceTable table;
  const MatchClass seen{SourceKind::kSibling, 4, Voice::kOpen}, other{SourceKind::kOwn, 4, Voice::kOpen},
      loud{SourceKind::kSibling, 4, Voice::kAgreed}, bucket{SourceKind::kSibling, 5, Voice::kOpen};
  const AcceptanceTable fresh;
  const auto moved = [&](const MatchClass& match, int position, Evidence evidence) {
    return table.acceptance(match, position, evidence) != fresh.acceptance(match, position, evidence);
  };
  for (int i = 0; i < 100; ++i) table.record(seen, 0, Evidence::kTwice, false);
  CHECK(moved(seen, 0, Evidence::kTwice) && moved(other, 0, Evidence::kTwice));
  CHECK(!moved(seen, 0, Evidence::kSingle) && !moved(seen, 1, Evidence::kTwice));
  CHECK(!moved(loud, 0, Evidence::kTwice) && !moved(bucket, 0, Evidence::kTwice));

  for (int i = 0; i < 100; ++i) table.record(seen, 2, Evidence::kSingle, false, false);
  CHECK(moved(seen, 2, Evidence::kSingle) && !moved(other, 2, Evidence::kSingle));  // of its kind alone
  for (int i = 0; i < 100; ++i) table.record(seen, 2, Evidence::kSingle, false);
  CHECK(moved(other, 3, Evidence::kSingle) && !moved(other, 4, Evidence::kSingle));
  // What a kind has seen itself outweighs what others have.
  for (int i = 0; i < 100; ++i) table.record(other, 3, Evidence::kSingle, true, false);
  CHECK(table.acceptance(other, 3, Evidence::kSingle) > 0.9);
}

TEST("priors: matches that say more are trusted more, own context more than others, contradiction less") {
  const AcceptanceTable table;
  constexpr Evidence kOne = Evidence::kSingle;
  for (int bucket = 1; bucket < MatchClass::kBuckets; ++bucket)
    if (bucket != 7)  // the shortest of those that count by length
      CHECK(table.acceptance(of_own(bucket), 0, kOne) > table.acceptance(of_own(bucket - 1), 0, kOne));
  for (int kind = 1; kind < kSourceKinds; ++kind)
    CHECK(table.acceptance({static_cast<SourceKind>(kind), 8, Voice::kOpen}, 0, kOne) <
          table.acceptance(of_own(8), 0, kOne));
  for (int evidence = 3; evidence < kEvidences; ++evidence)
    CHECK(table.acceptance(of_own(8), 0, kAll[evidence]) <
          table.acceptance(of_own(8), 0, kAll[evidence - 1]));
  CHECK(table.acceptance({SourceKind::kOwn, 8, Voice::kAgreed}, 0, kOne) >
        table.acceptance(of_own(8), 0, kOne));
  CHECK(table.acceptance({SourceKind::kOwn, 8, Voice::kDisputed}, 0, kOne) <
        table.acceptance(of_own(8), 0, kOne));
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
