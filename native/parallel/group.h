#pragma once
// A tensor-parallel group as one rank sees it: the same program on `size` ranks, one thread each, in one
// process. The decoder calls these between the backend's operations; with size() == 1 they are no-ops.
//
// A Group is made for one Backend (RankDevices::join), used on that rank's thread, and destroyed before the
// backend. Every rank calls the same operations in the same order with the same rows and columns.
//
// Order. A collective belongs to the backend's stream of operations: it reads what the operations before it
// wrote and is seen by those behind it. It may return before it has run (HCCL: enqueued on the backend's
// stream, and captured with it into a graph); then its failure shows where the backend waits (logits, argmax,
// synchronize). The thread group of the CPU returns when it is done.
//
// Failure. One rank's failure is everybody's: whoever fails tells the Rendezvous, and from then on every
// collective and every wait of the other ranks throws too, within the group's timeout at the latest. No call
// blocks longer than that timeout.

#include "backend/backend.h"

namespace agentinfer {

class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // x[r] = sum over ranks of x[r], rows [0, rows), all columns, in place. The same bits on every rank, and
  // for a row the same bits whatever the other rows are. Thread group: ((rank 0 + rank 1) + rank 2) + ... in
  // f32. Throws kDevice (a rank failed, did not come within the timeout, or called something else); x is
  // undefined then.
  virtual void all_reduce(Backend& backend, Activation& x, int rows) = 0;

  // out[r] = [x[r] of rank 0 | x[r] of rank 1 | ...], rows [0, rows). REQUIRES out.cols == size() * x.cols.
  // On every rank.
  virtual void all_gather(Backend& backend, const Activation& x, int rows, Activation& out) = 0;

  // Throws what failed if any rank has failed; otherwise returns at once. For loops that wait for a device.
  virtual void check() const = 0;
};

class SoloGroup final : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(Backend&, Activation&, int) override {}
  void all_gather(Backend&, const Activation&, int, Activation&) override {}
  void check() const override {}
};

}  // namespace agentinfer
