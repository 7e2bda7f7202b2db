// The CPU backend's products and attention beside the machine's limits, measured in the same run,
// interleaved.
//   kernels_bench [--threads N] [--isa NAME] [--fetch NAME] [--samples N] [--only TEXT] [--json]
// --only: of the products and attention, those whose names contain TEXT.
// --fetch: none, first or second (Fetch) for all rows, where else this processor's rule holds.
// Weights of several layers are cycled through, so that products of few rows stream from memory as a real
// model's do.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/limits.h"
#include "tensor/check.h"

using namespace agentinfer;

namespace {

struct Options {
  int threads = 0;
  std::string isa, only;
  FetchRule fetch = fetch_rule();
  int samples = 9;
  bool json = false;
};

struct Row {
  std::string name, unit;
  std::vector<double> values;
  std::function<double()> measure;
  int limit = -1;  // index of the row that bounds this one
};

double seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Random {
  std::mt19937 engine{7};
  // Real weights and activations hold no denormals: those would measure the penalty, not the kernel.
  std::vector<std::byte> bf16(int64_t count) {
    std::vector<std::byte> data(static_cast<size_t>(count) * 2);
    std::vector<uint16_t> few(4096);
    std::normal_distribution<float> normal(0, 0.02f);
    for (uint16_t& value : few) value = bf16_from_f32(normal(engine));
    for (size_t i = 0; i < data.size(); i += 8192)
      std::memcpy(data.data() + i, few.data(), std::min<size_t>(8192, data.size() - i));
    return data;
  }
};

// Several copies of one product's weights, together larger than the caches.
struct Product {
  int64_t n, k;
  std::vector<std::unique_ptr<Linear>> copies;
  std::unique_ptr<Activation> x, y;
  size_t next = 0;

  Product(Backend& backend, Random& random, int64_t rows, int64_t in, int64_t out, WeightFormat format)
      : n(out), k(in) {
    const std::vector<std::byte> data = random.bf16(n * k);
    const TensorView tensor{"w", DType::kBF16, {n, k}, data};
    const int count = static_cast<int>(std::max<int64_t>(2, (int64_t{160} << 20) / (n * k)));
    for (int i = 0; i < count; ++i)
      copies.push_back(backend.make_linear({{Slice{&tensor, 0, n, 0, k}}, {}, format, "w"}));
    x = backend.make_activation(rows, k, Feeds::kLinear);
    y = backend.make_activation(rows, n, Feeds::kOther);
    int64_t stride = 0;
    auto* values = static_cast<float*>(backend.raw(*x, &stride));
    std::normal_distribution<float> normal(0, 1);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < k; ++c) values[r * stride + c] = normal(random.engine);
  }

  void run(Backend& backend, int rows) {
    int64_t stride = 0;
    backend.raw(*x, &stride);  // counts as rewritten: an int8 product quantises its input, as in a model
    backend.linear(*x, *copies[next++ % copies.size()], rows, *y);
  }
};

struct AttentionBench {
  static constexpr int kHeads = 16, kKvHeads = 8, kDim = 64, kBlock = 32, kContext = 8192, kRows = 512;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<Activation> qkv, out;
  std::vector<int32_t> tokens, positions, slots, table;
  std::vector<StepSequence> sequences;

  AttentionBench(Backend& backend, Random& random) {
    backend.prepare({kRows, 8, 1, kContext}, {kHeads, kKvHeads, kDim, 0.125f},
                    RopeTable{std::vector<float>(kDim / 2, 0.01f)});
    cache = backend.make_kv_cache({1, kKvHeads, kDim, kBlock, DType::kF16}, kContext / kBlock, 0);
    qkv = backend.make_activation(kRows, (kHeads + 2 * kKvHeads) * kDim, Feeds::kOther);
    out = backend.make_activation(kRows, kHeads * kDim, Feeds::kLinear);
    table.resize(kContext / kBlock);
    std::iota(table.begin(), table.end(), 0);
    int64_t stride = 0;
    auto* values = static_cast<float*>(backend.raw(*qkv, &stride));
    std::normal_distribution<float> normal(0, 1);
    for (int64_t i = 0; i < kRows * stride; ++i) values[i] = normal(random.engine);
    for (int start = 0; start < kContext; start += kRows) {
      begin(backend, kRows, start + kRows);
      backend.write_kv(0, *qkv, nullptr, nullptr, 1e-6f);
    }
  }
  void begin(Backend& backend, int rows, int context) {
    tokens.assign(static_cast<size_t>(rows), 0);
    positions.resize(static_cast<size_t>(rows));
    std::iota(positions.begin(), positions.end(), context - rows);
    slots = positions;
    sequences = {{0, rows, context, table}};
    backend.begin_step({tokens, positions, slots, sequences, {}}, *cache);
  }
  double run(Backend& backend, int rows, int context) {
    begin(backend, rows, context);
    return seconds([&] { backend.attention(0, *qkv, *out); });
  }
};

double at(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(fraction * static_cast<double>(values.size() - 1) + 0.5)];
}

void print(const std::vector<Row>& rows, const CpuBackend& backend, bool json) {
  if (json) {
    std::printf("{\"isa\":\"%s\",\"threads\":%d,\"rows\":[", backend.isa().c_str(), backend.threads());
  } else {
    std::printf("%s, %d threads\n%-34s %10s %10s %10s  %s\n", backend.isa().c_str(), backend.threads(), "",
                "min", "median", "max", "");
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const double low = at(row.values, 0), middle = at(row.values, 0.5), high = at(row.values, 1);
    const double limit = row.limit < 0 ? 0 : at(rows[static_cast<size_t>(row.limit)].values, 0.5);
    if (json) {
      std::printf("%s{\"name\":\"%s\",\"unit\":\"%s\",\"min\":%.4g,\"value\":%.4g,\"max\":%.4g",
                  i != 0 ? "," : "", row.name.c_str(), row.unit.c_str(), low, middle, high);
      if (limit > 0) std::printf(",\"limit\":%.4g", limit);
      std::printf("}");
    } else {
      std::printf("%-34s %10.2f %10.2f %10.2f  %s", row.name.c_str(), low, middle, high, row.unit.c_str());
      if (limit > 0)
        std::printf("  (%.0f %% of %s)", 100 * middle / limit,
                    rows[static_cast<size_t>(row.limit)].name.c_str());
      std::printf("\n");
    }
  }
  if (json) std::printf("]}\n");
}

FetchRule fetch_named(std::string_view name) {
  constexpr std::pair<std::string_view, Fetch> kNames[] = {
      {"none", Fetch::kNone}, {"first", Fetch::kFirst}, {"second", Fetch::kSecond}};
  for (const auto& [known, fetch] : kNames)
    if (name == known) return {.few = fetch, .many = fetch};
  fail(ErrorCode::kInvalidArgument, "--fetch: expected none, first or second, got ", name);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--json")
      options.json = true;
    else if (flag == "--threads")
      options.threads = std::atoi(value), ++i;
    else if (flag == "--isa")
      options.isa = value, ++i;
    else if (flag == "--fetch")
      options.fetch = fetch_named(value), ++i;
    else if (flag == "--only")
      options.only = value, ++i;
    else if (flag == "--samples")
      options.samples = std::max(1, std::atoi(value)), ++i;
    else
      fail(ErrorCode::kInvalidArgument, "unknown option ", flag);
  }
  return options;
}

void run(const Options& options) {
  const auto backend = make_cpu_backend({options.threads, options.isa, options.fetch});
  LimitsMeter one(1, backend->isa()), all(backend->threads(), backend->isa());
  Random random;
  std::vector<Row> rows;
  rows.push_back({"memory read, 1 thread", "GB/s", {}, [&] { return one.read_bytes_per_s() / 1e9; }});
  rows.push_back({"memory read", "GB/s", {}, [&] { return all.read_bytes_per_s() / 1e9; }});
  rows.push_back({"fp32 peak, 1 thread", "GFLOP/s", {}, [&] { return one.fma_flops_per_s() / 1e9; }});
  rows.push_back({"fp32 peak", "GFLOP/s", {}, [&] { return all.fma_flops_per_s() / 1e9; }});
  rows.push_back({"int8 peak, 1 thread", "GOP/s", {}, [&] { return one.int8_ops_per_s() / 1e9; }});
  rows.push_back({"int8 peak", "GOP/s", {}, [&] { return all.int8_ops_per_s() / 1e9; }});
  constexpr int kRead = 1, kFma = 3, kInt8 = 5;

  struct Shape {
    const char* name;
    int64_t k, n;
  };
  constexpr Shape kShapes[] = {
      {"gate_up 1024x9728", 1024, 9728}, {"down 4864x1024", 4864, 1024}, {"qkv 1024x2048", 1024, 2048}};
  std::vector<std::unique_ptr<Product>> products;
  for (const Shape& shape : kShapes)
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const bool int8 = format == WeightFormat::kW8A8;
      products.push_back(std::make_unique<Product>(*backend, random, 504, shape.k, shape.n, format));
      Product* product = products.back().get();
      for (const int count : {1, 6, 8, 32, 504}) {
        const bool few = count <= 8;
        const double work = few ? static_cast<double>(shape.k * shape.n) * (int8 ? 1 : 2)
                                : 2.0 * static_cast<double>(shape.k * shape.n) * count;
        const std::string name =
            std::string(int8 ? "int8 " : "bf16 ") + shape.name + ", " + std::to_string(count);
        const int repeats = few ? static_cast<int>(product->copies.size()) : 1;
        rows.push_back({name,
                        few    ? "GB/s"
                        : int8 ? "GOP/s"
                               : "GFLOP/s",
                        {},
                        [=, &backend] {
                          return repeats * work / 1e9 / seconds([&] {
                                   for (int i = 0; i < repeats; ++i) product->run(*backend, count);
                                 });
                        },
                        few    ? kRead
                        : int8 ? kInt8
                               : kFma});
      }
    }

  AttentionBench attention(*backend, random);
  const double kv_bytes = 2.0 * AttentionBench::kKvHeads * AttentionBench::kDim * 2;
  for (const int context : {512, 8192})
    rows.push_back({"attention decode at " + std::to_string(context),
                    "GB/s of KV",
                    {},
                    [&, context] { return kv_bytes * context / 1e9 / attention.run(*backend, 1, context); },
                    kRead});
  for (const int context : {512, 8192})
    rows.push_back({"attention 512 rows up to " + std::to_string(context),
                    "GFLOP/s",
                    {},
                    [&, context] {
                      const double pairs = 512.0 * (context - 511) + 512.0 * 511 / 2;
                      return pairs * AttentionBench::kHeads * AttentionBench::kDim * 4 / 1e9 /
                             attention.run(*backend, 512, context);
                    },
                    kFma});

  constexpr int kLimits = 6;
  rows.erase(std::remove_if(rows.begin() + kLimits, rows.end(),
                            [&](const Row& row) { return row.name.find(options.only) == std::string::npos; }),
             rows.end());
  for (int sample = 0; sample < options.samples; ++sample)
    for (Row& row : rows) row.values.push_back(row.measure());
  print(rows, *backend, options.json);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
