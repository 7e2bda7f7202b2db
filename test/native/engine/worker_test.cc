// The engine's thread by itself: the order of its jobs, and how it ends.

#include "engine/worker.h"

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"

using namespace agentinfer;

TEST("jobs run in order, the last behind those that were queued when it was refused more") {
  std::vector<int> order;
  std::atomic<bool> go{false};
  Worker worker([&] { order.push_back(0); });
  worker.submit([&] {
    while (!go) std::this_thread::yield();
  });
  for (int job = 1; job <= 20; ++job) CHECK(worker.submit([&order, job] { order.push_back(job); }));
  worker.refuse();  // returns although a job runs
  CHECK(worker.wanted());
  CHECK(!worker.submit([&] { order.push_back(99); }));
  go = true;
  worker.stop();
  worker.stop();
  CHECK_EQ(order.size(), 21u);
  for (size_t i = 0; i < 20; ++i) CHECK_EQ(order[i], static_cast<int>(i) + 1);
  CHECK_EQ(order.back(), 0);
}

TEST("a worker that was never used ends with its last job, and one without any ends") {
  int ran = 0;
  {
    const Worker worker([&] { ++ran; });
  }
  CHECK_EQ(ran, 1);
  { const Worker worker; }
}

CHECK_MAIN
