// What drafting costs on the host: building automata, drafting, retrieval, admission.
//
//   draft_bench [--json] [--runs N]
//
// Texts are agent_text.h's, from fixed seeds. Prints the median CPU time of the runs, with the smallest and
// largest; cases take turns within a run, so that a busy machine touches all alike.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent_text.h"
#include "bench_arguments.h"
#include "draft/drafter.h"
#include "draft/session_store.h"

using namespace agentinfer;
using agent_text::Tokens;

namespace {

// CPU time: the work runs on one thread and never waits, so on an idle machine this is the time it takes, and
// on a shared one the others' share is left out.
double seconds(const std::function<void()>& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

struct Row {
  std::string name, unit;
  double target;  // upper bound; 0: none
  std::function<double()> measure;
  std::vector<double> values;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void add_build_rows(std::vector<Row>& rows) {
  const auto run = std::make_shared<agent_text::Run>(1);
  struct Text {
    const char* name;
    std::function<Tokens(size_t)> make;
  };
  const Text texts[] = {{"agent", [=](size_t size) { return agent_text::agent_text(*run, 2, size); }},
                        {"random", [](size_t size) { return agent_text::random_text(3, size); }},
                        {"repetitive", [](size_t size) { return agent_text::repetitive_text(4, size); }}};
  for (const size_t size : {size_t{128} << 10, size_t{1} << 20}) {
    for (const Text& text : texts) {
      const auto tokens = std::make_shared<Tokens>(text.make(size));
      const std::string name =
          std::string(text.name) + " text, " + (size < 1 << 20 ? "128K" : "1M") + " tokens";
      const bool bound = size < 1 << 20;
      rows.push_back({"build, " + name,
                      "us/token",
                      bound ? 0.6 : 0,
                      [=] {
                        SuffixAutomaton automaton;
                        return seconds([&] { automaton.append(*tokens); }) / static_cast<double>(size) * 1e6;
                      },
                      {}});
      rows.push_back({"memory, " + name,
                      "bytes/token",
                      100,
                      [=] {
                        SuffixAutomaton automaton;
                        automaton.append(*tokens);
                        return static_cast<double>(automaton.bytes()) / static_cast<double>(size);
                      },
                      {}});
    }
  }
}

// An agent that goes on with its transcript, beside eleven sources of 32K tokens: agents of its run, of
// others, and stored ones.
struct Drafting {
  static constexpr size_t kSize = 32 << 10, kGenerated = 4000;

  Drafting(bool matching, int shown) : accepted(shown), set(std::make_shared<TextSource>(nullptr)) {
    const agent_text::Run run(10);
    text = matching ? agent_text::agent_text(run, 11, kSize + kGenerated)
                    : agent_text::random_text(12, kSize + kGenerated);
    set.start(std::span(text).first(kSize));
    for (uint64_t i = 0; i < 11; ++i) {
      const auto kind = i < 5 ? SourceKind::kSibling : i == 5 ? SourceKind::kRole : SourceKind::kRetrieved;
      auto source = std::make_shared<TextSource>(nullptr);
      source->append(agent_text::agent_text(i < 7 ? run : agent_text::Run(20 + i), 30 + i, kSize));
      set.attach(kind, std::move(source), 0.5);
    }
  }
  // Steps through what the agent generated. Returns microseconds per step for propose and commit.
  double replay() {
    Drafter drafter({}, StepCost({{1, 0.010}, {16, 0.012}}));
    int steps = 0;
    const double total = seconds([&] {
      for (size_t at = kSize; at < text.size(); ++steps) {
        Draft draft;
        if (set.due()) drafter.propose(set, kMaxDraftTokens, draft);
        const int most = std::min({draft.length, accepted, static_cast<int>(text.size() - at) - 1});
        int length = 0;
        while (length < most &&
               draft.tokens[static_cast<size_t>(length)] == text[at + static_cast<size_t>(length)])
          ++length;
        const size_t emitted = static_cast<size_t>(length) + 1;
        drafter.commit(set, std::span(text).subspan(at, emitted));
        at += emitted;
      }
    });
    return total / steps * 1e6;
  }
  int accepted;
  SourceSet set;
  Tokens text;
};

void add_draft_rows(std::vector<Row>& rows) {
  rows.push_back({"draft, 12 sources of 32K, agent text, one token a step",
                  "us/sequence/step",
                  5,
                  [] { return Drafting(true, 0).replay(); },
                  {}});
  rows.push_back({"draft, 12 sources of 32K, agent text, drafts accepted",
                  "us/sequence/step",
                  5,
                  [] { return Drafting(true, kMaxDraftTokens).replay(); },
                  {}});
  rows.push_back({"draft, 12 sources of 32K, text that never matches",
                  "us/sequence/step",
                  5,
                  [] { return Drafting(false, 0).replay(); },
                  {}});
}

void add_admission_row(std::vector<Row>& rows) {
  rows.push_back({"admission, batch of 32 with 15 tokens each",
                  "us/step",
                  0,
                  [] {
                    agent_text::Words words(5);
                    std::vector<std::vector<double>> survivals(32, std::vector<double>(kMaxDraftTokens));
                    std::vector<Offer> offers;
                    for (auto& survival : survivals) {
                      double chance = 1;
                      for (double& s : survival)
                        s = chance *= 0.5 + 0.5 * static_cast<double>(words.below(1000)) / 1000;
                      offers.push_back({survival});
                    }
                    std::vector<CostPoint> curve;
                    for (int tokens = 1; tokens <= 512; tokens *= 2)
                      curve.push_back({tokens, 0.01 + 1e-4 * tokens});
                    Admission admission;
                    std::vector<int> lengths(32);
                    const auto choose = [&] { admission.choose(offers, {32, 32, 0, 480}, curve, lengths); };
                    choose();
                    return seconds([&] {
                             for (int i = 0; i < 200; ++i) choose();
                           }) /
                           200 * 1e6;
                  },
                  {}});
}

// 1,000 sessions of the same few topics; queries of 20 words.
void add_retrieval_rows(std::vector<Row>& rows) {
  const auto store = std::make_shared<SessionStore>(StoreOptions{});
  const auto words = std::make_shared<agent_text::Words>(6);
  const auto query = [words] {
    std::string text;
    for (int i = 0; i < 20; ++i) text += "w" + std::to_string(words->word(5000)) + " ";
    return text;
  };
  const auto vector = [words] {
    std::vector<float> out(1024);
    for (float& x : out) x = static_cast<float>(words->below(2001)) / 1000.0f - 1;
    return out;
  };
  for (int i = 0; i < 1000; ++i) {
    const std::string id = "session " + std::to_string(i);
    store->put("sparse", id, query(), {});
    store->append("sparse", id, Tokens{1});
    store->put("dense", id, query(), vector());
    store->append("dense", id, Tokens{1});
  }
  rows.push_back({"retrieve 8 of 1,000 sessions, words",
                  "ms",
                  0,
                  [=] {
                    const std::string wanted = query();
                    return seconds([&] { store->search("sparse", wanted, {}, 8, ""); }) * 1e3;
                  },
                  {}});
  rows.push_back({"retrieve 8 of 1,000 sessions, words and 1,024 numbers",
                  "ms",
                  0,
                  [=] {
                    const std::string wanted = query();
                    const std::vector<float> numbers = vector();
                    return seconds([&] { store->search("dense", wanted, numbers, 8, ""); }) * 1e3;
                  },
                  {}});
}

void print_json(const std::vector<Row>& rows) {
  std::printf("{\"rows\": [");
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto [least, most] = std::minmax_element(rows[i].values.begin(), rows[i].values.end());
    const double value = median(rows[i].values);
    std::printf("%s\n  {\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"spread\": [%.4g, %.4g]",
                i ? "," : "", rows[i].name.c_str(), value, rows[i].unit.c_str(), *least, *most);
    if (rows[i].target > 0)
      std::printf(", \"target\": %g, \"holds\": %s", rows[i].target,
                  value <= rows[i].target ? "true" : "false");
    std::printf("}");
  }
  std::printf("\n]}\n");
}

void print_table(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const auto [least, most] = std::minmax_element(row.values.begin(), row.values.end());
    std::printf("%-62s %9.3f %-17s (%.3f to %.3f)", row.name.c_str(), median(row.values), row.unit.c_str(),
                *least, *most);
    if (row.target > 0)
      std::printf("  target <= %g: %s", row.target, median(row.values) <= row.target ? "holds" : "MISSED");
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = bench_arguments(argc, argv, 7);
  if (!arguments) return 2;
  const auto [json, runs] = *arguments;
  std::vector<Row> rows;
  add_build_rows(rows);
  add_draft_rows(rows);
  add_admission_row(rows);
  add_retrieval_rows(rows);
  for (int run = 0; run < runs; ++run)
    for (Row& row : rows) row.values.push_back(row.measure());
  json ? print_json(rows) : print_table(rows);
  return 0;
}
