// Time to sample one token, vocabulary 153376 (openPangu's). Logits: a normal "peaked" row as a model gives
// it, and a nearly flat one, the worst case for every cut.
//   sampler_bench [--json] [--runs N]
// Prints the median, minimum and maximum over the runs, microseconds.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bench_arguments.h"
#include "engine/sampler.h"

using namespace agentinfer;

namespace {

constexpr int kVocabulary = 153376;

std::vector<float> make_logits(float spread, bool peak, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = normal(random);
  for (int i = 0; peak && i < 30; ++i)
    logits[random() % logits.size()] = 22.0f - 0.5f * static_cast<float>(i);
  return logits;
}

struct Case {
  const char* name;
  SamplingParams params;
};

std::vector<Case> make_cases() {
  std::vector<Case> cases(8);
  cases[0].name = "greedy";
  cases[0].params.temperature = 0;
  cases[1].name = "temperature 1";
  cases[2].name = "top-p 0.8";
  cases[2].params.top_p = 0.8f;
  cases[3].name = "top-k 50";
  cases[3].params.top_k = 50;
  cases[4].name = "top-k 50, top-p 0.8";
  cases[4].params.top_k = 50;
  cases[4].params.top_p = 0.8f;
  cases[5].name = "min-p 0.05";
  cases[5].params.min_p = 0.05f;
  cases[6].name = "greedy, 20 top logprobs";
  cases[6].params.temperature = 0;
  cases[6].params.logprobs = true;
  cases[6].params.top_logprobs = 20;
  cases[7].name = "top-p 0.8, repetition 1.1";
  cases[7].params.top_p = 0.8f;
  cases[7].params.repetition_penalty = 1.1f;
  return cases;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = bench_arguments(argc, argv, 21);
  if (!arguments) return 2;
  const auto [json, runs] = *arguments;
  Sampler sampler(kVocabulary);
  TokenHistory history;
  std::mt19937 random(1);
  for (int i = 0; i < 4000; ++i) history.append_output(static_cast<int32_t>(random() % kVocabulary));
  std::string rows;
  for (const bool peaked : {true, false}) {
    const std::vector<float> logits = peaked ? make_logits(2.5f, true, 2) : make_logits(0.05f, false, 3);
    for (const Case& test : make_cases()) {
      std::vector<double> times;
      int64_t sink = 0;
      for (int run = -1; run < runs; ++run) {
        constexpr int kDraws = 5;
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kDraws; ++i)
          sink += sampler.sample(logits, test.params, history, run * kDraws + i + 10).token;
        const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
        if (run >= 0) times.push_back(spent.count() / kDraws);
      }
      std::sort(times.begin(), times.end());
      const std::string name = std::string(peaked ? "peaked: " : "flat: ") + test.name;
      const double median = times[times.size() / 2];
      if (!json)
        std::printf("%-36s %9.1f us  (%.1f .. %.1f)%s", name.c_str(), median, times.front(), times.back(),
                    sink ? "\n" : " \n");
      char row[256];
      std::snprintf(row, sizeof row,
                    "%s{\"name\":\"%s\",\"value\":%.2f,\"unit\":\"us\",\"spread\":[%.2f,%.2f]}",
                    rows.empty() ? "" : ",", name.c_str(), median, times.front(), times.back());
      rows += row;
    }
  }
  if (json)
    std::printf("{\"case\":\"sampler\",\"options\":{\"vocabulary\":%d,\"runs\":%d},\"rows\":[%s]}\n",
                kVocabulary, runs, rows.c_str());
  return 0;
}
