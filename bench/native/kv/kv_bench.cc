// The KV books under load: what must stay cheap (a block's life <= 0.3 us, lookup of a 128K-token
// history <= 2 ms) and what else a step may spend time on.
//   kv_bench [--json] [--runs N]
// Prints the median, minimum and maximum over the runs. `holds` compares the median with the target.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench_arguments.h"
#include "kv/prefix_index.h"
#include "kv/reservation.h"

using namespace agentinfer;

namespace {

struct Row {
  std::string name, unit;
  double median = 0, low = 0, high = 0, target = 0;  // target 0: none
};

class Bench {
 public:
  explicit Bench(int runs) : runs_(runs) {}
  // `body` returns the time of one operation in `unit`s; the first call warms up.
  void measure(const std::string& name, const std::string& unit, double target,
               const std::function<double()>& body) {
    std::vector<double> values;
    for (int run = -1; run < runs_; ++run) {
      const double value = body();
      if (run >= 0) values.push_back(value);
    }
    std::sort(values.begin(), values.end());
    rows_.push_back({name, unit, values[values.size() / 2], values.front(), values.back(), target});
  }
  void print(bool json) const {
    if (json) std::printf("{\"case\":\"kv\",\"options\":{\"runs\":%d},\"rows\":[", runs_);
    for (size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      const char* const holds = row.median <= row.target ? "true" : "false";
      if (!json) {
        std::printf("%-58s %10.3f %-3s (%.3f .. %.3f)", row.name.c_str(), row.median, row.unit.c_str(),
                    row.low, row.high);
        if (row.target > 0) std::printf("  target %.3g, holds: %s", row.target, holds);
        std::printf("\n");
        continue;
      }
      std::printf("%s{\"name\":\"%s\",\"value\":%.5g,\"unit\":\"%s\",\"spread\":[%.5g,%.5g]", i ? "," : "",
                  row.name.c_str(), row.median, row.unit.c_str(), row.low, row.high);
      if (row.target > 0) std::printf(",\"target\":%.5g,\"holds\":%s", row.target, holds);
      std::printf("}");
    }
    if (json) std::printf("]}\n");
  }

 private:
  int runs_;
  std::vector<Row> rows_;
};

template <typename F>
double nanoseconds(F&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

std::vector<int32_t> random_tokens(uint32_t seed, size_t count) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 150000);
  return tokens;
}

constexpr int kBlock = 32;
constexpr size_t kHistory = 128 * 1024;

// Computes and finishes one sequence.
void run_sequence(PrefixIndex& index, OwnerId owner, std::span<const int32_t> tokens) {
  BlockTable table(kBlock);
  ChainCursor cursor(0);
  index.probe(tokens, cursor);
  Reservation reservation(index);
  if (reservation.take_hits(cursor, 0, true) != Room::kTaken) std::abort();
  if (reservation.take(reservation.blocks_needed(static_cast<int64_t>(tokens.size())), 0) != Room::kTaken)
    std::abort();
  reservation.commit(table);
  table.set_computed(static_cast<int64_t>(tokens.size()));
  index.finish(cursor, owner, tokens, table);
}

void bench_blocks(Bench& bench) {
  BlockPool pool(100000, kBlock);
  PrefixIndex index(pool, {.host_blocks = 0, .host_min_class = 1, .tombstones = 65536, .secret = {}});
  constexpr int kStep = 64, kRounds = 2000;
  bench.measure("allocate, commit and free of a block (64 sequences, 1 each)", "us", 0.3, [&] {
    std::vector<BlockTable> tables(kStep, BlockTable(kBlock));
    for (BlockTable& table : tables) table.reserve(4);
    double spent = 0;
    for (int round = 0; round < kRounds / kStep; ++round) {
      spent += nanoseconds([&] {
        for (BlockTable& table : tables) {
          Reservation reservation(index);
          if (reservation.take(1, 0) != Room::kTaken) std::abort();
          reservation.commit(table);
        }
        for (BlockTable& table : tables) index.release_table(table);
      });
    }
    return spent / (kRounds / kStep * kStep) / 1000;
  });
  bench.measure("allocate, commit and free of a block (a 4096-block chunk)", "us", 0.3, [&] {
    BlockTable table(kBlock);
    table.reserve(4096);
    const double spent = nanoseconds([&] {
      Reservation reservation(index);
      if (reservation.take(4096, 0) != Room::kTaken) std::abort();
      reservation.commit(table);
      index.release_table(table);
    });
    return spent / 4096 / 1000;
  });
}

void bench_lookup(Bench& bench) {
  BlockPool pool(20000, kBlock);
  PrefixIndex index(pool, {.host_blocks = 0, .host_min_class = 1, .tombstones = 65536, .secret = {}});
  // Histories computed side by side, so that their blocks lie scattered as they do in a busy engine.
  std::vector<std::vector<int32_t>> histories;
  for (uint32_t i = 0; i < 4; ++i) histories.push_back(random_tokens(i, kHistory));
  std::vector<BlockTable> tables(4, BlockTable(kBlock));
  std::vector<ChainCursor> cursors(4, ChainCursor(0));
  double publishing = 0;
  for (size_t block = 0; block < kHistory / kBlock; ++block) {
    for (size_t i = 0; i < 4; ++i) {
      Reservation reservation(index);
      if (reservation.take(1, 0) != Room::kTaken) std::abort();
      reservation.commit(tables[i]);
      tables[i].set_computed(static_cast<int64_t>(block + 1) * kBlock);
      publishing +=
          nanoseconds([&] { index.publish(cursors[i], static_cast<OwnerId>(i), histories[i], tables[i]); });
    }
  }
  bench.measure("publish of a full block", "us", 0,
                [&] { return publishing / (4 * (kHistory / kBlock)) / 1000; });
  for (BlockTable& table : tables) index.release_table(table);
  bench.measure("lookup of a 128K-token history, all cached", "ms", 2, [&] {
    int found = 0;
    const double spent = nanoseconds([&] { found = index.lookup(0, histories[2]).device(); });
    if (found != static_cast<int>(kHistory / kBlock)) std::abort();
    return spent / 1e6;
  });
  ChainCursor cursor(0);
  index.probe(histories[1], cursor);
  int64_t sink = 0;
  bench.measure("probe of the same again, index unchanged", "us", 0, [&] {
    return nanoseconds([&] {
             for (int i = 0; i < 1000; ++i) {
               index.probe(histories[1], cursor);
               sink += cursor.match().tokens;
             }
           }) /
           1000 / 1000;
  });
  uint32_t seed = 100;
  bench.measure("probe of the same again, index changed elsewhere", "us", 0, [&] {
    run_sequence(index, 9, random_tokens(seed++, 100));
    return nanoseconds([&] { index.probe(histories[1], cursor); }) / 1000;
  });
  std::vector<int32_t> divergent = histories[3];
  divergent[kHistory - 5] ^= 1;
  bench.measure("why did the cache miss, 128K tokens", "ms", 0,
                [&] { return nanoseconds([&] { sink += index.explain(0, divergent).index; }) / 1e6; });
  if (sink == 0) std::abort();
}

void bench_demand(Bench& bench) {
  BlockPool pool(20000, kBlock);
  PrefixIndex index(pool, {.host_blocks = 0, .host_min_class = 1, .tombstones = 65536, .secret = {}});
  // 256 waiting agents: a shared 4K prompt, a 12K history each, half of it cached.
  const std::vector<int32_t> shared = random_tokens(7, 4096);
  std::vector<std::vector<int32_t>> lists;
  for (uint32_t i = 0; i < 256; ++i) {
    lists.push_back(shared);
    const std::vector<int32_t> own = random_tokens(1000 + i, 12288);
    lists.back().insert(lists.back().end(), own.begin(), own.end());
    if (i % 8 == 0) run_sequence(index, i, std::span(lists.back()).first(10000));
  }
  std::vector<ChainCursor> cursors(lists.size(), ChainCursor(0));
  std::vector<PrefixIndex::Listed> listed;
  for (size_t i = 0; i < lists.size(); ++i) listed.push_back({lists[i], &cursors[i]});
  int64_t sink = 0;
  uint32_t seed = 1;
  bench.measure("hits of 256 waiting requests probed again after a change", "us", 0, [&] {
    run_sequence(index, 999, random_tokens(seed++, 100));
    return nanoseconds([&] {
             for (const PrefixIndex::Listed& list : listed) index.probe(list.tokens, *list.cursor);
           }) /
           1000;
  });
  bench.measure("union of hits and needs of 256 waiting requests", "us", 0, [&] {
    run_sequence(index, 999, random_tokens(seed++, 100));
    return nanoseconds([&] { sink += index.demand(listed).fresh; }) / 1000;
  });
  if (sink == 0) std::abort();
}

void bench_eviction(Bench& bench) {
  bench.measure("eviction of a block, 100,000 cached, 1,000 owners", "us", 0, [&] {
    BlockPool pool(100000, kBlock);
    PrefixIndex index(pool, {.host_blocks = 0, .host_min_class = 1, .tombstones = 65536, .secret = {}});
    for (uint32_t i = 0; i < 1000; ++i) {
      run_sequence(index, i, random_tokens(i, 100 * kBlock));
      index.retain(i, {static_cast<uint8_t>(i % 3), static_cast<double>(i % 50)});
    }
    Reservation reservation(index);
    return nanoseconds([&] {
             for (int i = 0; i < 500; ++i)
               if (reservation.take(100, i % 40) != Room::kTaken) std::abort();
           }) /
           50000 / 1000;
  });
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = bench_arguments(argc, argv, 21);
  if (!arguments) return 2;
  const auto [json, runs] = *arguments;
  Bench bench(runs);
  bench_blocks(bench);
  bench_lookup(bench);
  bench_demand(bench);
  bench_eviction(bench);
  bench.print(json);
  return 0;
}
