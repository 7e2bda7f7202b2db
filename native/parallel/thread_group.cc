#include "parallel/thread_group.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr int kMaxRanks = 64;
constexpr int64_t kChunk = 256;  // columns summed at a time; also the unit of a rank's share

}  // namespace

class ThreadGroup final : public Group {
 public:
  ThreadGroup(ThreadTeam& team, int rank) : team_(team), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return team_.rendezvous_.size(); }
  void check() const override { team_.rendezvous_.check(); }

  // Between the two meetings each rank alone writes its share of the chunks, in every rank's buffer, so
  // nothing is overwritten that another still reads.
  void all_reduce(Backend& backend, Activation& x, int rows) override {
    ensure(rows >= 0 && rows <= x.max_rows, "all_reduce of ", rows, " rows of ", x.max_rows);
    const Rendezvous::Tag tag{.call = "all_reduce", .rows = rows, .cols = x.cols};
    bring(backend, x);
    team_.rendezvous_.meet(rank_, tag);
    const int64_t chunks = (x.cols + kChunk - 1) / kChunk, total = chunks * rows;
    for (int64_t item = total * rank_ / size(); item < total * (rank_ + 1) / size(); ++item)
      sum(item / chunks, item % chunks * kChunk, std::min(x.cols, (item % chunks + 1) * kChunk));
    team_.rendezvous_.meet(rank_, tag);
  }

  void all_gather(Backend& backend, const Activation& x, int rows, Activation& out) override {
    ensure(rows >= 0 && rows <= std::min(x.max_rows, out.max_rows) && out.cols == x.cols * size(),
           "all_gather of ", rows, " x ", x.cols, " into ", out.max_rows, " x ", out.cols);
    const Rendezvous::Tag tag{.call = "all_gather", .rows = rows, .cols = x.cols};
    bring(backend, const_cast<Activation&>(x));  // read only
    const ThreadTeam::Rows to = rows_of(backend, out);
    team_.rendezvous_.meet(rank_, tag);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t from = 0; from < size(); ++from)
        std::memcpy(to.data + row * to.stride + from * x.cols, source(from, row),
                    static_cast<size_t>(x.cols) * sizeof(float));
    team_.rendezvous_.meet(rank_, tag);
  }

 private:
  void bring(Backend& backend, Activation& x) {
    team_.rows_[static_cast<size_t>(rank_)] = rows_of(backend, x);
  }

  static ThreadTeam::Rows rows_of(Backend& backend, Activation& x) {
    ThreadTeam::Rows rows;
    rows.data = static_cast<float*>(backend.raw(x, &rows.stride));
    ensure(rows.data != nullptr, "threads reduce rows in host memory, and this device has none there");
    return rows;
  }

  float* source(int64_t rank, int64_t row) const {
    const ThreadTeam::Rows& rows = team_.rows_[static_cast<size_t>(rank)];
    return rows.data + row * rows.stride;
  }

  // Columns [begin, end) of one row, at most kChunk of them.
  void sum(int64_t row, int64_t begin, int64_t end) {
    std::array<float, kChunk> sums;
    std::copy(source(0, row) + begin, source(0, row) + end, sums.begin());
    for (int64_t rank = 1; rank < size(); ++rank) {
      const float* from = source(rank, row) + begin;
      for (int64_t i = 0; i < end - begin; ++i) sums[static_cast<size_t>(i)] += from[i];
    }
    for (int64_t rank = 0; rank < size(); ++rank)
      std::copy_n(sums.begin(), end - begin, source(rank, row) + begin);
  }

  ThreadTeam& team_;
  const int rank_;
};

ThreadTeam::ThreadTeam(int size, std::chrono::milliseconds timeout)
    : rendezvous_(size, timeout), rows_(static_cast<size_t>(size)) {}

std::unique_ptr<Group> ThreadTeam::group(int rank) {
  ensure(rank >= 0 && rank < rendezvous_.size(), "rank ", rank, " of ", rendezvous_.size());
  return std::make_unique<ThreadGroup>(*this, rank);
}

namespace {

const CpuRanksOptions& checked(const CpuRanksOptions& options) {
  if (options.size < 1 || options.size > kMaxRanks)
    fail(ErrorCode::kInvalidArgument, "tensorParallel must be in [1, ", kMaxRanks, "], got ", options.size);
  if (options.timeout.count() < 1)
    fail(ErrorCode::kInvalidArgument, "the group's timeout must be at least 1 ms");
  return options;
}

}  // namespace

int threads_of_rank(int threads, int ranks, int rank) {
  const int all = threads != 0 ? threads : default_threads();
  return ranks == 1 ? all : std::max(1, all / ranks + (rank < all % ranks ? 1 : 0));
}

CpuRanks::CpuRanks(const CpuRanksOptions& options)
    : options_(checked(options)),
      team_(options.size, options.timeout),
      opened_(static_cast<size_t>(options.size)) {}

DeviceInfo CpuRanks::info() const {
  DeviceInfo info{.name = opened_.front().name, .threads = 0};
  for (const DeviceInfo& rank : opened_) info.threads += rank.threads;
  return info;
}

std::unique_ptr<Backend> CpuRanks::open(int rank) {
  auto backend = make_cpu_backend(
      {.threads = threads_of_rank(options_.threads, options_.size, rank), .isa = options_.isa});
  opened_[static_cast<size_t>(rank)] = {.name = backend->isa(), .threads = backend->threads()};
  return backend;
}

std::unique_ptr<Group> CpuRanks::join(int rank, Backend&) {
  if (options_.size == 1) return std::make_unique<SoloGroup>();
  return team_.group(rank);
}

bool CpuRanks::recover() {
  team_.rendezvous().reset();
  return true;
}

}  // namespace agentinfer
