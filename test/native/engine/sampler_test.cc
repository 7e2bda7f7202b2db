#include "engine/sampler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "check.h"
#include "engine/random.h"

using namespace agentinfer;

namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

// Everything the header promises, in double, with full sorts: the final probabilities by token id.
struct Naive {
  std::vector<double> probabilities;  // 0 outside the support
  double margin =
      1;  // how far the nearest cut (min-p, top-p) is from the other side; tests skip what is too close
};

std::vector<double> naive_adjust(const std::vector<float>& logits, const SamplingParams& params,
                                 const TokenHistory& history) {
  std::vector<double> x(logits.begin(), logits.end());
  for (double& value : x)
    if (std::isnan(value)) value = kNone;
  if (!params.allowed_ids.empty()) {
    const std::set<int32_t> allowed(params.allowed_ids.begin(), params.allowed_ids.end());
    for (size_t i = 0; i < x.size(); ++i)
      if (!allowed.count(static_cast<int32_t>(i))) x[i] = kNone;
  }
  if (history.output_tokens() < params.min_tokens)
    for (int32_t id : params.stop_ids) x[static_cast<size_t>(id)] = kNone;
  for (const LogitBias& bias : params.logit_bias) x[static_cast<size_t>(bias.token)] += double{bias.bias};
  for (const TokenHistory::Entry& entry : history.entries()) {
    double& logit = x[static_cast<size_t>(entry.token)];
    logit = logit > 0 ? logit / double{params.repetition_penalty} : logit * double{params.repetition_penalty};
    logit -= double{params.frequency_penalty} * entry.output +
             double{params.presence_penalty} * (entry.output > 0);
  }
  return x;
}

Naive naive(const std::vector<float>& logits, const SamplingParams& params, const TokenHistory& history) {
  std::vector<double> x = naive_adjust(logits, params, history);
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  Naive result;
  result.probabilities.assign(x.size(), 0);
  std::vector<double> weights;
  for (size_t i : order)
    weights.push_back(x[i] == kNone ? 0 : std::exp((x[i] - x[order[0]]) / double{params.temperature}));
  size_t keep = 0;
  while (keep < order.size() && weights[keep] > 0 && weights[keep] >= double{params.min_p}) ++keep;
  for (size_t rank : {keep - 1, keep}) {
    if (rank < weights.size() && params.min_p > 0 && weights[rank] != 1)
      result.margin =
          std::min(result.margin, std::fabs(weights[rank] - double{params.min_p}) / double{params.min_p});
  }
  if (params.top_k > 0) keep = std::min(keep, static_cast<size_t>(params.top_k));
  const double left = std::accumulate(weights.begin(), weights.begin() + static_cast<ptrdiff_t>(keep), 0.0);
  double mass = 0;
  size_t nucleus = 0;
  while (nucleus < keep && (nucleus == 0 || mass < double{params.top_p} * left)) {
    mass += weights[nucleus++];
    if (params.top_p < 1)
      result.margin = std::min(result.margin, std::fabs(mass / left - double{params.top_p}));
  }
  if (params.top_p < 1) keep = nucleus;
  const double total = std::accumulate(weights.begin(), weights.begin() + static_cast<ptrdiff_t>(keep), 0.0);
  for (size_t rank = 0; rank < keep; ++rank) result.probabilities[order[rank]] = weights[rank] / total;
  return result;
}

std::vector<float> random_logits(std::mt19937& random, int vocabulary, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (float& logit : logits)
    logit = random() % 16 ? normal(random) : std::round(normal(random));  // some ties
  return logits;
}

SamplingParams random_params(std::mt19937& random, int vocabulary) {
  const auto pick = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  const auto id = [&] { return static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)); };
  SamplingParams params;
  params.temperature = pick({0.1f, 0.7f, 1, 1, 1.5f, 5});
  params.top_k = static_cast<int>(pick({0, 0, 1, 3, 20, 1000}));
  params.top_p = pick({1, 1, 0.3f, 0.8f, 0.95f, 1e-6f});
  params.min_p = pick({0, 0, 0, 0.05f, 0.5f, 1});
  params.repetition_penalty = pick({1, 1, 1.3f, 0.8f});
  params.presence_penalty = pick({0, 0, 0.6f, -0.5f});
  params.frequency_penalty = pick({0, 0, 0.4f, -0.2f});
  params.seed = random();
  if (random() % 4 == 0)
    for (int i = 0; i < 5; ++i)
      params.logit_bias.push_back({id(), pick({-3, 2, 0.5f, -std::numeric_limits<float>::infinity()})});
  if (random() % 4 == 0)
    for (int i = 0; i < 7; ++i) params.allowed_ids.push_back(id());
  if (random() % 4 == 0) {
    params.stop_ids = {id(), id()};
    params.min_tokens = static_cast<int64_t>(random() % 12);
  }
  return params;
}

TokenHistory random_history(std::mt19937& random, int vocabulary) {
  TokenHistory history;
  for (uint32_t i = 0, count = random() % 30; i < count; ++i) {
    const int32_t token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary));
    if (random() % 2) {
      history.append_prompt(std::span(&token, 1));
    } else {
      history.append_output(token);
    }
  }
  return history;
}

bool any_left(const std::vector<float>& logits, const SamplingParams& params, const TokenHistory& history) {
  for (double x : naive_adjust(logits, params, history))
    if (x != kNone) return true;
  return false;
}

}  // namespace

TEST("philox: the published known answers") {
  const uint32_t f = 0xffffffffu;
  CHECK((philox4x32({0, 0, 0, 0}, {0, 0}) ==
         std::array<uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  CHECK((philox4x32({f, f, f, f}, {f, f}) ==
         std::array<uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  CHECK((philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
         std::array<uint32_t, 4>{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST("uniform: in the open unit interval, flat, and different for each seed, position and stream") {
  std::vector<int> bins(64, 0);
  const int draws = 64000;
  for (int i = 0; i < draws; ++i) {
    const double u = uniform(static_cast<uint64_t>(i % 7) << 33, static_cast<uint64_t>(i));
    CHECK(u > 0 && u < 1);
    ++bins[static_cast<size_t>(u * 64)];
  }
  double chi = 0;
  for (int count : bins) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  CHECK(chi < 120);  // 63 degrees of freedom: p = 1.6e-5
  const std::set<double> distinct = {uniform(1, 2), uniform(2, 1), uniform(1, uint64_t{2} << 32),
                                     uniform(uint64_t{1} << 32, 2), uniform(1, 2, RandomStream{1})};
  CHECK_EQ(distinct.size(), 5u);
  CHECK_EQ(uniform(1, 2), uniform(1, 2));
}

TEST("token history: counts equal a map's, in order of first occurrence") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    TokenHistory history;
    std::map<int32_t, std::pair<int, int>> naive_counts;
    std::vector<int32_t> order;
    int64_t outputs = 0;
    for (int i = 0; i < 500; ++i) {
      const int32_t token = static_cast<int32_t>(random() % (1u << (random() % 18)));
      if (!naive_counts.count(token)) order.push_back(token);
      if (random() % 2) {
        history.append_prompt(std::span(&token, 1));
        ++naive_counts[token].first;
      } else {
        history.append_output(token);
        ++naive_counts[token].second;
        ++outputs;
      }
    }
    CHECK_EQ(history.entries().size(), order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      const TokenHistory::Entry& entry = history.entries()[i];
      CHECK_EQ(entry.token, order[i]);
      CHECK(std::pair(entry.prompt, entry.output) == naive_counts[entry.token]);
    }
    CHECK_EQ(history.output_tokens(), outputs);
    history.skip_output();
    CHECK_EQ(history.output_tokens(), outputs + 1);
  }
}

TEST("the support and the probabilities equal a full sort in double, whatever the options") {
  std::mt19937 random(11);
  int judged = 0;
  for (int round = 0; round < 3000; ++round) {
    const int vocabulary = 1 + static_cast<int>(random() % 300);
    const std::vector<float> logits = random_logits(random, vocabulary, round % 3 == 0 ? 0.3f : 4.0f);
    const SamplingParams params = random_params(random, vocabulary);
    const TokenHistory history = random_history(random, vocabulary);
    validate(params, vocabulary);
    Sampler sampler(vocabulary);
    if (!any_left(logits, params, history)) {
      CHECK_THROWS(sampler.sample(logits, params, history, 5), ErrorCode::kInvalidArgument, "position 5");
      continue;
    }
    const Naive expected = naive(logits, params, history);
    if (expected.margin < 1e-5) continue;  // float rounding may decide
    ++judged;
    // Inverse CDF: the tokens drawn for many u must be the support's, each about as often as it should be.
    std::vector<int> drawn(static_cast<size_t>(vocabulary), 0);
    const int draws = 60;
    for (int position = 0; position < draws; ++position) {
      const int32_t token = sampler.sample(logits, params, history, position).token;
      CHECK(expected.probabilities.at(static_cast<size_t>(token)) > 0);
      ++drawn[static_cast<size_t>(token)];
    }
    for (size_t i = 0; i < drawn.size(); ++i) {
      const double p = expected.probabilities[i];
      CHECK_NEAR(drawn[i] / double{draws}, p, 6 * std::sqrt(p * (1 - p) / draws) + 2.5 / draws);
    }
  }
  CHECK(judged > 2000);
}

TEST("frequencies follow the softmax (chi-square)") {
  std::mt19937 random(5);
  for (int round = 0; round < 12; ++round) {
    const int vocabulary = 40;
    const std::vector<float> logits = random_logits(random, vocabulary, 1.5f);
    SamplingParams params;
    params.seed = static_cast<uint64_t>(round);
    params.temperature = round % 2 ? 1.0f : 0.8f;
    if (round >= 4) params.top_p = 0.9f;
    if (round >= 8) params.top_k = 12;
    const Naive expected = naive(logits, params, {});
    Sampler sampler(vocabulary);
    std::vector<int> drawn(static_cast<size_t>(vocabulary), 0);
    const int draws = 20000;
    for (int position = 0; position < draws; ++position)
      ++drawn[static_cast<size_t>(sampler.sample(logits, params, {}, position).token)];
    double chi = 0, rare = 0, rare_drawn = 0;
    int cells = 0;
    for (size_t i = 0; i < drawn.size(); ++i) {
      const double mean = expected.probabilities[i] * draws;
      if (mean < 10) {
        rare += mean;
        rare_drawn += drawn[i];
        continue;
      }
      chi += (drawn[i] - mean) * (drawn[i] - mean) / mean;
      ++cells;
    }
    if (rare > 0) chi += (rare_drawn - rare) * (rare_drawn - rare) / rare;
    CHECK(chi < cells + 5 * std::sqrt(2.0 * cells) + 5);
  }
}

TEST("a draw depends on logits, options, history and position alone") {
  std::mt19937 random(8);
  Sampler shared(200), other(200);
  std::map<int64_t, int32_t> first;
  const std::vector<float> logits = random_logits(random, 200, 2), noise = random_logits(random, 200, 2);
  SamplingParams params;
  params.seed = 42;
  params.top_p = 0.95f;
  for (int64_t position = 0; position < 300; ++position)
    first[position] = shared.sample(logits, params, {}, position).token;
  int changed = 0;
  for (int64_t position = 299; position >= 0; --position) {  // in another order, with other rows in between
    other.sample(noise, params, {}, position * 31);
    CHECK_EQ(other.sample(logits, params, {}, position).token, first[position]);
    SamplingParams reseeded = params;
    reseeded.seed = 43;
    changed += other.sample(logits, reseeded, {}, position).token != first[position];
  }
  CHECK(changed > 150);
}

TEST("greedy: the argmax of the adjusted logits, the lower id on ties, never a NaN") {
  std::mt19937 random(13);
  for (int round = 0; round < 2000; ++round) {
    const int vocabulary = 1 + static_cast<int>(random() % 200);
    std::vector<float> logits = random_logits(random, vocabulary, 1);
    for (int i = 0; i < vocabulary / 8; ++i)
      logits[random() % logits.size()] =
          random() % 2 ? std::numeric_limits<float>::quiet_NaN() : logits[random() % logits.size()];
    SamplingParams params = random_params(random, vocabulary);
    params.temperature = 0;
    const TokenHistory history = random_history(random, vocabulary);
    Sampler sampler(vocabulary);
    if (!any_left(logits, params, history) ||
        std::ranges::all_of(logits, [](float x) { return std::isnan(x); }))
      continue;
    const int32_t token = sampler.sample(logits, params, history, 0).token;
    const std::vector<double> x = naive_adjust(logits, params, history);
    const double best = *std::max_element(x.begin(), x.end());
    CHECK_NEAR(x[static_cast<size_t>(token)], best, 1e-5);
    if (params.plain_argmax() && history.output_tokens() >= params.min_tokens)
      CHECK_EQ(token, static_cast<int32_t>(std::max_element(x.begin(), x.end()) - x.begin()));
  }
}

TEST("log probabilities are the raw distribution's, top ones in order, chosen ones as asked") {
  std::mt19937 random(17);
  for (int round = 0; round < 500; ++round) {
    const int vocabulary = 1 + static_cast<int>(random() % 400);
    std::vector<float> logits = random_logits(random, vocabulary, 3);
    if (round % 5 == 0 && vocabulary > 2) logits[0] = -std::numeric_limits<float>::infinity();
    if (round % 7 == 0 && vocabulary > 2) logits[1] = std::numeric_limits<float>::quiet_NaN();
    SamplingParams params = random_params(random, vocabulary);
    if (round % 2) params.temperature = 0;
    params.logprobs = true;
    params.top_logprobs = static_cast<int>(random() % 21);
    for (int i = 0; i < 3; ++i)
      params.logprob_ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary)));
    const TokenHistory history = random_history(random, vocabulary);
    if (!any_left(logits, params, history)) continue;
    Sampler sampler(vocabulary);
    const SampleResult result = sampler.sample(logits, params, history, 3);
    SamplingParams plain;
    const std::vector<double> x = naive_adjust(logits, plain, {});
    double sum = 0;
    const double best = *std::max_element(x.begin(), x.end());
    for (double value : x) sum += std::exp(value - best);
    const auto expected = [&](int32_t token) { return x[static_cast<size_t>(token)] - best - std::log(sum); };
    const auto close = [&](float got, int32_t token) {
      if (expected(token) == kNone)
        CHECK(got == -std::numeric_limits<float>::infinity());
      else
        CHECK_NEAR(got, expected(token), 1e-4);
    };
    close(result.logprob, result.token);
    std::vector<size_t> order(x.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
    const size_t possible =
        static_cast<size_t>(std::ranges::count_if(logits, [](float l) { return !std::isnan(l); }));
    CHECK_EQ(result.top.size(), std::min<size_t>(static_cast<size_t>(params.top_logprobs), possible));
    for (size_t i = 0; i < result.top.size(); ++i) {
      CHECK_EQ(result.top[i].token, static_cast<int32_t>(order[i]));
      close(result.top[i].logprob, result.top[i].token);
    }
    CHECK_EQ(result.chosen.size(), 3u);
    for (size_t i = 0; i < result.chosen.size(); ++i) {
      CHECK_EQ(result.chosen[i].token, params.logprob_ids[i]);
      close(result.chosen[i].logprob, params.logprob_ids[i]);
    }
  }
}

TEST("large vocabularies: supports of top-k, top-p and min-p equal a full sort, flat and peaked") {
  std::mt19937 random(19);
  const int vocabulary = 20011;
  Sampler sampler(vocabulary);
  for (int round = 0; round < 60; ++round) {
    const std::vector<float> logits = random_logits(random, vocabulary, round % 4 ? 4.0f : 0.05f);
    SamplingParams params;
    params.seed = static_cast<uint64_t>(round);
    params.top_k = std::array{0, 50, 3000, 19000}[random() % 4];
    params.top_p = std::array{1.0f, 0.2f, 0.8f, 0.999f}[random() % 4];
    params.min_p = std::array{0.0f, 0.0f, 0.02f}[random() % 3];
    const Naive expected = naive(logits, params, {});
    if (expected.margin < 1e-6) continue;
    for (int position = 0; position < 40; ++position) {
      const int32_t token = sampler.sample(logits, params, {}, position).token;
      CHECK(expected.probabilities[static_cast<size_t>(token)] > 0);
    }
  }
}

TEST("a row without a finite logit is the device's fault and names its position") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  Sampler sampler(3);
  for (const std::vector<float>& logits :
       {std::vector<float>{nan, nan, nan}, {-inf, -inf, -inf}, {nan, -inf, nan}})
    CHECK_THROWS(sampler.sample(logits, {}, {}, 77), ErrorCode::kDevice, "position 77");
  CHECK_THROWS(sampler.sample(std::vector<float>{1, inf, 2}, {}, {}, 78), ErrorCode::kDevice, "position 78");
  CHECK_EQ(sampler.sample(std::vector<float>{nan, -inf, 2}, {}, {}, 0).token, 2);
  CHECK_THROWS(sampler.sample(std::vector<float>{1, 2}, {}, {}, 0), ErrorCode::kInternal, "3 tokens got 2");
}

TEST("options out of range are refused by name") {
  const auto refuse = [](auto change, const char* needle) {
    SamplingParams params;
    change(params);
    CHECK_THROWS(validate(params, 100), ErrorCode::kInvalidArgument, needle);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  refuse([](SamplingParams& p) { p.temperature = -1; }, "temperature");
  refuse([&](SamplingParams& p) { p.temperature = nan; }, "temperature");
  refuse([&](SamplingParams& p) { p.temperature = inf; }, "temperature");
  refuse([](SamplingParams& p) { p.top_k = -1; }, "top_k");
  refuse([](SamplingParams& p) { p.top_p = 0; }, "top_p");
  refuse([](SamplingParams& p) { p.top_p = 1.5f; }, "top_p");
  refuse([](SamplingParams& p) { p.min_p = 1.1f; }, "min_p");
  refuse([](SamplingParams& p) { p.repetition_penalty = 0; }, "repetition_penalty");
  refuse([&](SamplingParams& p) { p.presence_penalty = inf; }, "presence_penalty");
  refuse([&](SamplingParams& p) { p.frequency_penalty = nan; }, "frequency_penalty");
  refuse([](SamplingParams& p) { p.min_tokens = -1; }, "min_tokens");
  refuse([](SamplingParams& p) { p.top_logprobs = 21; }, "top_logprobs");
  refuse([](SamplingParams& p) { p.allowed_ids = {100}; }, "allowed_ids");
  refuse([](SamplingParams& p) { p.stop_ids = {-1}; }, "stop_ids");
  refuse([](SamplingParams& p) { p.logprob_ids = {3, 100}; }, "got 100");
  refuse([&](SamplingParams& p) { p.logit_bias = {{3, inf}}; }, "logit_bias");
  refuse([](SamplingParams& p) { p.logit_bias = {{100, 1}}; }, "logit_bias");
  validate({}, 100);
}

CHECK_MAIN
