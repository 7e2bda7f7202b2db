#include "model/quantize_rows.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <thread>
#include <vector>

#include "tensor/check.h"
#include "tensor/quantize_row.h"

namespace agentinfer {

namespace {

// Rows [first, last) of the call's rows.
struct Job {
  const TensorView& matrix;
  int64_t begin;
  std::span<int8_t> out;
  std::span<float> scales;

  void run(size_t first, size_t last) const {
    const auto cols = static_cast<size_t>(matrix.shape.at(1));
    std::vector<float> row(cols);
    for (size_t i = first; i < last; ++i) {
      const int64_t index = begin + static_cast<int64_t>(i);
      read_floats(matrix, index * matrix.shape[1], row);
      scales[i] = quantize_row(row, out.subspan(i * cols, cols));
      if (std::isnan(scales[i]))
        fail(ErrorCode::kModelInvalid, "tensor ", matrix.name, ": row ", index,
             " holds a value that is not finite");
    }
  }
};

// Joins on every way out, also when starting a later thread fails.
struct Threads {
  std::vector<std::thread> all;
  ~Threads() {
    for (std::thread& thread : all) thread.join();
  }
};

}  // namespace

void quantize_rows(const TensorView& matrix, int64_t begin, std::span<int8_t> out, std::span<float> scales,
                   int threads) {
  const Job job{matrix, begin, out, scales};
  const size_t rows = scales.size();
  const size_t workers =
      std::clamp<size_t>(static_cast<size_t>(std::max(threads, 1)), 1, std::max<size_t>(rows, 1));
  std::vector<std::exception_ptr> errors(workers);
  const auto work = [&](size_t worker) noexcept {
    try {
      job.run(rows * worker / workers, rows * (worker + 1) / workers);
    } catch (...) {
      errors[worker] = std::current_exception();
    }
  };
  {
    Threads started;
    for (size_t worker = 1; worker < workers; ++worker) started.all.emplace_back(work, worker);
    work(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace agentinfer
