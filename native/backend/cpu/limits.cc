#include "backend/cpu/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "backend/cpu/cpu_backend.h"

namespace agentinfer {
namespace {

constexpr size_t kReadBytes = size_t{256} << 20;
constexpr double kSampleSeconds = 0.02;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Keeps a result alive without printing it.
template <typename T>
void consume(T value) {
  std::atomic<T> sink{};
  sink.store(value);
}

}  // namespace

LimitsMeter::LimitsMeter(int threads, std::string_view isa)
    : kernels_(select_kernels(isa)),
      pool_(thread_count(threads)),
      memory_(kReadBytes, "bandwidth measurement") {
  std::memset(memory_.as<std::byte>(), 1, memory_.bytes());  // untouched pages would all be one page of zeros
}

double LimitsMeter::read_bytes_per_s() {
  constexpr int kParts = 64;
  constexpr size_t kPart = kReadBytes / kParts;
  const Fetch fetch = fetch_rule().bf16(1);
  const auto start = std::chrono::steady_clock::now();
  pool_.parallel_for(kParts, [&](int part, int) {
    consume(kernels_.floats->read_loop(memory_.as<std::byte>() + static_cast<size_t>(part) * kPart, kPart,
                                       fetch));
  });
  return static_cast<double>(kReadBytes) / seconds_since(start);
}

// Every thread runs `iterations_` rounds, which grow until a sample is long enough to trust.
template <typename Loop>
double LimitsMeter::rate(double work_per_iteration, Loop loop) {
  while (true) {
    const int64_t iterations = iterations_;
    const auto start = std::chrono::steady_clock::now();
    pool_.parallel_for(pool_.size(), [&](int, int) { consume(loop(iterations)); });
    const double seconds = seconds_since(start);
    if (seconds >= kSampleSeconds)
      return work_per_iteration * static_cast<double>(iterations) * pool_.size() / seconds;
    iterations_ *= 2;
  }
}

double LimitsMeter::fma_flops_per_s() {
  return rate(static_cast<double>(kernels_.floats->fma_flops), kernels_.floats->fma_loop);
}

double LimitsMeter::int8_ops_per_s() {
  return rate(static_cast<double>(kernels_.int8->dot_ops), kernels_.int8->dot_loop);
}

MachineLimits measure_limits(int threads, std::string_view isa, int samples) {
  LimitsMeter meter(threads, isa);
  std::vector<double> read, fma, int8;
  for (int i = 0; i < std::max(samples, 1); ++i) {
    const MachineLimits one = meter.sample();
    read.push_back(one.read_bytes_per_s);
    fma.push_back(one.fma_flops_per_s);
    int8.push_back(one.int8_ops_per_s);
  }
  const auto median = [](std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
    return values[values.size() / 2];
  };
  return {median(read), median(fma), median(int8)};
}

}  // namespace agentinfer
