#pragma once
// A tensor-parallel group: the same program on `size` ranks, one thread each. The decoder calls these after the row-parallel
// products; with size() == 1 they are no-ops.

#include <span>

#include "backend/backend.h"

namespace agentinfer {

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // x = sum over ranks of x, the same bits on every rank (summed in rank order on the CPU).
  virtual void all_reduce(Backend& backend, Activation& x, int rows) = 0;
  // out[r] = concatenation over ranks of x[r]
  virtual void all_gather(Backend& backend, const Activation& x, int rows, Activation& out) = 0;
};

class SoloGroup final : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(Backend&, Activation&, int) override {}
  void all_gather(Backend&, const Activation&, int, Activation&) override {}
};

}  // namespace agentinfer
