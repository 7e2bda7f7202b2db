// Admission: its properties, the best choice by trying all, and the cases shared with
// lib/policy/speculate.ts.
//
//   admission_test --write-fixture FILE   writes those cases (test/fixtures/speculate_cases.json)

#include "draft/admission.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "temp_folder.h"

using namespace agentinfer;

namespace {

struct Problem {
  AdmissionOptions options;
  StepLoad load;
  std::vector<CostPoint> curve;
  std::vector<std::vector<double>> survivals;
  std::vector<double> row_seconds;  // of each; empty: 0

  std::vector<Offer> offers() const {
    std::vector<Offer> out;
    for (size_t i = 0; i < survivals.size(); ++i)
      out.push_back({survivals[i], i < row_seconds.size() ? row_seconds[i] : 0});
    return out;
  }
  std::vector<int> solve() const {
    std::vector<int> lengths(survivals.size(), -1);
    Admission(options).choose(offers(), load, curve, lengths);
    return lengths;
  }
  // The next of the lengths that can be run.
  int padded(int length) const {
    const auto step = std::lower_bound(options.lengths.begin(), options.lengths.end(), length);
    return length == 0 || step == options.lengths.end() ? length : *step;
  }
  int rows(const std::vector<int>& lengths) const {
    int total = 0, longest = 0;
    for (const int length : lengths) {
      total += padded(length);
      longest = std::max(longest, padded(length));
    }
    return options.uniform ? longest * static_cast<int>(lengths.size()) : total;
  }
  // Seconds for the context of the drafts' rows, padding included.
  double context(const std::vector<int>& lengths) const {
    const int longest = *std::max_element(lengths.begin(), lengths.end());
    double seconds = 0;
    for (size_t i = 0; i < row_seconds.size(); ++i)
      seconds += row_seconds[i] * padded(options.uniform ? longest : lengths[i]);
    return seconds;
  }
  double emitted(const std::vector<int>& lengths) const {
    double sum = load.yield;
    for (size_t i = 0; i < lengths.size(); ++i)
      for (int k = 0; k < lengths[i]; ++k) sum += survivals[i][static_cast<size_t>(k)];
    return sum;
  }
  double seconds(const std::vector<int>& lengths) const {
    return load.fixed_seconds + context(lengths) + cost_at(curve, load.tokens + rows(lengths));
  }
  double rate(const std::vector<int>& lengths) const { return emitted(lengths) / seconds(lengths); }
  // What is to be as large as can be.
  double value(const std::vector<int>& lengths) const {
    if (load.worth == 0) return rate(lengths);
    const double least = rate(std::vector<int>(lengths.size(), 0));
    return emitted(lengths) - std::max(load.worth, least) * seconds(lengths);
  }
};

// Fractions with few bits, so that equal chances and ties occur.
double fraction(std::mt19937_64& random) {
  return static_cast<double>(1 + random() % 64) / 64;
}

Problem random_problem(std::mt19937_64& random, size_t sequences, size_t longest) {
  Problem problem;
  const uint64_t shape = random() % 4;
  if (shape == 1) problem.options.lengths = {1, 3, 7, 15};
  if (shape == 2) problem.options.lengths = {1, 3, 7, 15};
  if (shape == 3) problem.options.lengths = {2, 5};
  problem.options.uniform = shape == 2 || (shape == 3 && random() % 2 == 0);
  double seconds = 0.01;
  for (int tokens = 1; tokens < 200; tokens = tokens * 2 + static_cast<int>(random() % 3)) {
    problem.curve.push_back({tokens, seconds});
    seconds += random() % 3 == 0 ? 0 : fraction(random) * 0.02;
  }
  for (size_t i = 0; i < sequences; ++i) {
    std::vector<double> survival(random() % (longest + 1));
    double chance = fraction(random);
    for (double& s : survival) s = chance *= random() % 4 == 0 ? 1 : fraction(random);
    problem.survivals.push_back(survival);
  }
  if (random() % 2 == 0)
    for (size_t i = 0; i < sequences; ++i) problem.row_seconds.push_back(fraction(random) * 0.001);
  const int prefill = random() % 3 == 0 ? static_cast<int>(random() % 100) : 0;
  problem.load = {static_cast<int>(sequences) + prefill, static_cast<double>(sequences),
                  random() % 2 ? 0 : fraction(random) * 0.05,
                  static_cast<int>(random() % 2 ? 1000 : random() % 30)};
  // From less than plain decoding emits to more than any step does.
  if (random() % 2 == 0) problem.load.worth = fraction(random) * 40 * static_cast<double>(sequences + 1);
  return problem;
}

void numbers(std::ostringstream& out, const std::vector<double>& values) {
  out << '[';
  for (size_t i = 0; i < values.size(); ++i) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", values[i]);
    out << (i ? ", " : "") << text;
  }
  out << ']';
}

void integers(std::ostringstream& out, const std::vector<int>& values) {
  numbers(out, std::vector<double>(values.begin(), values.end()));
}

std::string fixture() {
  std::mt19937_64 random(20251218);
  std::ostringstream out;
  out << "[\n";
  constexpr int kCases = 60;
  for (int i = 0; i < kCases; ++i) {
    const Problem problem = random_problem(random, random() % 9, 15);
    out << "  {\"lengths\": ";
    integers(out, problem.options.lengths);
    out << ", \"uniform\": " << (problem.options.uniform ? "true" : "false")
        << ", \"tokens\": " << problem.load.tokens << ", \"yield\": " << problem.load.yield
        << ", \"fixedSeconds\": ";
    numbers(out, {problem.load.fixed_seconds});
    out << ", \"room\": " << problem.load.room << ", \"worth\": ";
    numbers(out, {problem.load.worth});
    out << ",\n   \"curve\": [";
    for (size_t k = 0; k < problem.curve.size(); ++k) {
      out << (k ? ", " : "");
      numbers(out, {static_cast<double>(problem.curve[k].tokens), problem.curve[k].seconds});
    }
    out << "],\n   \"survivals\": [";
    for (size_t k = 0; k < problem.survivals.size(); ++k) {
      out << (k ? ", " : "");
      numbers(out, problem.survivals[k]);
    }
    out << "],\n   \"rowSeconds\": ";
    numbers(out, problem.row_seconds);
    out << ",\n   \"admitted\": ";
    integers(out, problem.solve());
    out << (i + 1 < kCases ? "},\n" : "}\n");
  }
  return out.str() + "]\n";
}

}  // namespace

TEST("the expected rate is never below plain decoding; lengths fit the drafts, the shapes and the room") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 5000; ++round) {
    const Problem problem = random_problem(random, 1 + random() % 12, 15);
    const std::vector<int> lengths = problem.solve();
    const std::vector<int> none(lengths.size(), 0);
    CHECK(problem.rate(lengths) >= problem.rate(none) * (1 - 1e-12));
    CHECK(problem.rows(lengths) <= problem.load.room);
    for (size_t i = 0; i < lengths.size(); ++i)
      CHECK(lengths[i] >= 0 && lengths[i] <= static_cast<int>(problem.survivals[i].size()));
  }
}

TEST("small batches: no set of lengths is better, by trying all") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 400; ++round) {
    Problem problem = random_problem(random, 1 + random() % 3, 5);
    // With lengths that only come in groups the best set is a knapsack, which the greedy choice only
    // approaches.
    problem.options.lengths.clear();
    problem.options.uniform = round % 2 == 0;
    // With rows of different cost the order by gain per row is only near the best one.
    if (!problem.row_seconds.empty())
      std::fill(problem.row_seconds.begin(), problem.row_seconds.end(), 0.0005);
    const double chosen = problem.value(problem.solve());
    double best = problem.value(std::vector<int>(problem.survivals.size(), 0));
    std::vector<int> lengths(problem.survivals.size(), 0);
    const std::function<void(size_t)> each = [&](size_t i) {
      if (i == lengths.size()) {
        if (problem.rows(lengths) <= problem.load.room) best = std::max(best, problem.value(lengths));
        return;
      }
      for (lengths[i] = 0; lengths[i] <= static_cast<int>(problem.survivals[i].size()); ++lengths[i])
        each(i + 1);
      lengths[i] = 0;
    };
    each(0);
    CHECK_NEAR(chosen, best, 1e-9 * (1 + std::abs(best)));
  }
}

TEST(
    "likelier drafts are never admitted less, and a likelier draft of the batch at least as much as "
    "another") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    Problem problem = random_problem(random, 2 + random() % 8, 15);
    problem.options.lengths.clear();
    problem.options.uniform = false;
    problem.survivals[1] = problem.survivals[0];
    problem.row_seconds.clear();
    for (double& s : problem.survivals[1]) s *= 0.75;
    const std::vector<int> lengths = problem.solve();
    CHECK(lengths[0] >= lengths[1]);
  }
}

TEST("free tokens are all taken, useless ones are not, and a full step admits none") {
  const std::vector<std::vector<double>> survivals{{0.5, 0.25, 0.1}, {0.01}, {}};
  Problem problem;
  problem.load = {3, 3, 0, 100};
  problem.curve = {{1, 0.01}, {100, 0.01}};
  problem.survivals = survivals;
  CHECK(problem.solve() == std::vector<int>({3, 1, 0}));
  problem.load.room = 2;
  CHECK(problem.solve() == std::vector<int>({2, 0, 0}));
  problem.load.room = 0;
  CHECK(problem.solve() == std::vector<int>({0, 0, 0}));
  problem.load.room = 100;
  problem.curve = {{1, 0.01}, {2, 0.02}};  // a row costs as much as a whole step per token
  CHECK(problem.solve() == std::vector<int>({0, 0, 0}));
}

TEST("what a second is worth: dearer seconds never admit more, cheap ones count as plain decoding's") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    Problem problem = random_problem(random, 1 + random() % 8, 15);
    const auto emitted = [&](double worth) {
      problem.load.worth = worth;
      return problem.emitted(problem.solve());
    };
    const double plain = problem.rate(std::vector<int>(problem.survivals.size(), 0));
    double before = emitted(plain);
    CHECK_EQ(emitted(plain / 2), before);
    for (const double times : {1.2, 1.5, 2.0, 4.0}) {
      const double now = emitted(times * plain);
      CHECK(now <= before + 1e-9);
      before = now;
    }
  }
}

TEST("steps that differ: with the long run's worth the rate over all of them beats the best rate of each") {
  // A step whose draft is nearly certain, and one whose draft is a guess.
  Problem good, poor;
  good.curve = poor.curve = {{1, 0.010}, {2, 0.013}, {16, 0.055}};
  good.load = poor.load = {1, 1, 0, 100};
  for (double chance = 1; good.survivals.empty() || good.survivals[0].size() < 15;) {
    if (good.survivals.empty()) good.survivals = poor.survivals = {{}};
    good.survivals[0].push_back(chance *= 0.93);
  }
  poor.survivals = {{0.33}};
  const auto together = [&] {
    const std::vector<int> a = good.solve(), b = poor.solve();
    return (good.emitted(a) + 3 * poor.emitted(b)) / (good.seconds(a) + 3 * poor.seconds(b));
  };
  const double each = together();
  double rate = 100;
  for (int i = 0; i < 20; ++i) {
    good.load.worth = poor.load.worth = rate;
    rate = together();
  }
  CHECK(rate > 1.02 * each);
}

TEST("padding is paid for: a draft of four is cut to three where the next shape is seven") {
  Problem problem;
  problem.options.lengths = {1, 3, 7};
  problem.load = {1, 1, 0, 100};
  problem.curve = {{1, 0.010}, {2, 0.0101}, {4, 0.0103}, {8, 0.0200}};
  problem.survivals = {{0.9, 0.9, 0.9, 0.9}};
  CHECK(problem.solve() == std::vector<int>({3}));
  problem.curve[3].seconds = 0.0104;
  CHECK(problem.solve() == std::vector<int>({4}));
}

TEST("bad lengths are refused with their values") {
  CHECK_THROWS(Admission({{0}, false}), ErrorCode::kInvalidArgument, "got 0");
  CHECK_THROWS(Admission({{3, 3}, false}), ErrorCode::kInvalidArgument, "got 3 after 3");
  CHECK_THROWS(Admission({{16}, false}), ErrorCode::kInvalidArgument, "1..15");
}

TEST("the cases shared with TypeScript are as written (admission_test --write-fixture)") {
  CHECK(check::read_file(AGENTINFER_FIXTURES "/speculate_cases.json") == fixture());
}

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--write-fixture") {
    std::ofstream(argv[2], std::ios::binary) << fixture();
    return 0;
  }
  return check::run_all(argc, argv);
}
