// Collectives over CPU memory against sums and copies made one element at a time.

#include "parallel/thread_group.h"

#include <bit>
#include <random>

#include "check.h"
#include "parallel/rank_threads.h"

using namespace agentinfer;
using std::chrono::milliseconds;

namespace {

using Matrix = std::vector<std::vector<float>>;

Matrix random_matrix(std::mt19937& random, int rows, int64_t cols) {
  std::normal_distribution<float> normal;
  Matrix made(static_cast<size_t>(rows), std::vector<float>(static_cast<size_t>(cols)));
  for (auto& row : made)
    for (float& value : row) value = std::ldexp(normal(random), static_cast<int>(random() % 20) - 10);
  return made;
}

void write(Backend& backend, Activation& to, const Matrix& values) {
  int64_t stride = 0;
  float* data = static_cast<float*>(backend.raw(to, &stride));
  for (size_t r = 0; r < values.size(); ++r)
    std::copy(values[r].begin(), values[r].end(), data + static_cast<int64_t>(r) * stride);
}

Matrix read(Backend& backend, Activation& from, int rows) {
  int64_t stride = 0;
  const float* data = static_cast<const float*>(backend.raw(from, &stride));
  Matrix made;
  for (int r = 0; r < rows; ++r) made.emplace_back(data + r * stride, data + r * stride + from.cols);
  return made;
}

// Each rank's backend and group, on its own thread.
struct Ranks {
  explicit Ranks(int size, milliseconds timeout = milliseconds(20000))
      : devices({.size = size, .threads = size, .timeout = timeout}),
        threads(devices.rendezvous()),
        backends(static_cast<size_t>(size)),
        groups(static_cast<size_t>(size)) {
    threads.run([this](int rank) {
      backends[static_cast<size_t>(rank)] = devices.open(rank);
      groups[static_cast<size_t>(rank)] = devices.join(rank, *backends[static_cast<size_t>(rank)]);
    });
  }
  Backend& backend(int rank) { return *backends[static_cast<size_t>(rank)]; }
  Group& group(int rank) { return *groups[static_cast<size_t>(rank)]; }

  CpuRanks devices;
  RankThreads threads;
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<std::unique_ptr<Group>> groups;
};

}  // namespace

TEST("all_reduce is the sum in rank order, the same bits on every rank, beyond its rows nothing") {
  std::mt19937 random(1);
  for (const int size : {1, 2, 3, 4, 8}) {
    Ranks ranks(size);
    for (int round = 0; round < 12; ++round) {
      const int max_rows = 1 + static_cast<int>(random() % 9),
                rows = static_cast<int>(random()) % (max_rows + 1);
      const int64_t cols = 1 + static_cast<int64_t>(random() % 700);
      std::vector<Matrix> before, after(static_cast<size_t>(size));
      for (int rank = 0; rank < size; ++rank) before.push_back(random_matrix(random, max_rows, cols));
      ranks.threads.run([&](int rank) {
        Backend& backend = ranks.backend(rank);
        const auto x = backend.make_activation(max_rows, cols, Feeds::kOther);
        write(backend, *x, before[static_cast<size_t>(rank)]);
        ranks.group(rank).all_reduce(backend, *x, std::abs(rows));
        after[static_cast<size_t>(rank)] = read(backend, *x, max_rows);
      });
      for (int rank = 0; rank < size; ++rank)
        for (int r = 0; r < max_rows; ++r)
          for (int64_t c = 0; c < cols; ++c) {
            const auto row = static_cast<size_t>(r), col = static_cast<size_t>(c);
            float expected = before[r < std::abs(rows) ? 0 : static_cast<size_t>(rank)][row][col];
            for (int other = 1; other < size && r < std::abs(rows); ++other)
              expected += before[static_cast<size_t>(other)][row][col];
            CHECK_EQ(std::bit_cast<uint32_t>(after[static_cast<size_t>(rank)][row][col]),
                     std::bit_cast<uint32_t>(expected));
          }
    }
  }
}

TEST("all_gather puts the ranks' columns side by side on every rank") {
  std::mt19937 random(2);
  for (const int size : {2, 3, 8}) {
    Ranks ranks(size);
    for (int round = 0; round < 8; ++round) {
      const int rows = 1 + static_cast<int>(random() % 6);
      const int64_t cols = 1 + static_cast<int64_t>(random() % 300);
      std::vector<Matrix> parts, gathered(static_cast<size_t>(size));
      for (int rank = 0; rank < size; ++rank) parts.push_back(random_matrix(random, rows, cols));
      Matrix expected(static_cast<size_t>(rows));
      for (const Matrix& part : parts)
        for (size_t r = 0; r < part.size(); ++r)
          expected[r].insert(expected[r].end(), part[r].begin(), part[r].end());
      ranks.threads.run([&](int rank) {
        Backend& backend = ranks.backend(rank);
        const auto x = backend.make_activation(rows, cols, Feeds::kOther);
        const auto out = backend.make_activation(rows, cols * size, Feeds::kOther);
        write(backend, *x, parts[static_cast<size_t>(rank)]);
        ranks.group(rank).all_gather(backend, *x, rows, *out);
        gathered[static_cast<size_t>(rank)] = read(backend, *out, rows);
      });
      for (const Matrix& got : gathered) CHECK(got == expected);
    }
  }
}

TEST("many collectives in a row neither mix nor lose a rank") {
  Ranks ranks(4);
  ranks.threads.run([&](int rank) {
    Backend& backend = ranks.backend(rank);
    const auto x = backend.make_activation(2, 64, Feeds::kOther);
    for (int i = 0; i < 300; ++i) {
      write(backend, *x, Matrix(2, std::vector<float>(64, static_cast<float>(rank + i))));
      ranks.group(rank).all_reduce(backend, *x, 1 + i % 2);
      const Matrix got = read(backend, *x, 1 + i % 2);
      for (const auto& row : got)
        for (const float value : row)
          if (value != static_cast<float>(6 + 4 * i)) fail(ErrorCode::kInternal, "round ", i, ": ", value);
    }
  });
}

TEST("ranks that go apart, fail or do not come end the collective for all, with the reason") {
  Ranks ranks(3, milliseconds(200));
  const auto collective = [&](int rank, int rows) {
    Backend& backend = ranks.backend(rank);
    const auto x = backend.make_activation(4, 64, Feeds::kOther);
    ranks.group(rank).all_reduce(backend, *x, rows);
  };
  CHECK_THROWS(ranks.threads.run([&](int rank) { collective(rank, rank == 2 ? 3 : 2); }), ErrorCode::kDevice,
               "went apart");
  CHECK_THROWS(ranks.group(0).check(), ErrorCode::kDevice, "went apart");
  CHECK(ranks.devices.recover());
  ranks.group(0).check();
  CHECK_THROWS(ranks.threads.run([&](int rank) {
    if (rank == 1) fail(ErrorCode::kOutOfMemory, "no more of it");
    collective(rank, 1);
  }),
               ErrorCode::kOutOfMemory, "rank 1: no more of it");
  CHECK(ranks.devices.recover());
  CHECK_THROWS(ranks.threads.run([&](int rank) {
    if (rank != 1) collective(rank, 1);
  }),
               ErrorCode::kDevice, "rank 1 did not come to all_reduce of 1 x 64");
  CHECK(ranks.devices.recover());
  ranks.threads.run([&](int rank) { collective(rank, 2); });
}

TEST("threads are shared between ranks, each has one at least; sizes out of range are refused") {
  Ranks ranks(3);
  CHECK_EQ(ranks.devices.info().threads, 3);
  CpuRanks five({.size = 2, .threads = 5});
  RankThreads threads(five.rendezvous());
  threads.run([&](int rank) { five.open(rank); });
  CHECK_EQ(five.info().threads, 5);
  CHECK_THROWS(CpuRanks({.size = 0}), ErrorCode::kInvalidArgument, "tensorParallel");
  CHECK_THROWS(CpuRanks({.size = 65}), ErrorCode::kInvalidArgument, "tensorParallel");
  CHECK_THROWS(CpuRanks({.size = 2, .timeout = milliseconds(0)}), ErrorCode::kInvalidArgument, "timeout");
}

CHECK_MAIN
