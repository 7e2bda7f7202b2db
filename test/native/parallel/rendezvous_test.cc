// The barrier and the rank threads: order, failure and time.

#include "parallel/rendezvous.h"

#include <array>
#include <random>
#include <set>
#include <thread>

#include "check.h"
#include "parallel/rank_threads.h"

using namespace agentinfer;
using std::chrono::milliseconds;

TEST("nobody leaves a meeting before all have come") {
  for (const int size : {1, 2, 5}) {
    Rendezvous rendezvous(size, milliseconds(20000));
    RankThreads threads(rendezvous);
    std::vector<int> progress(static_cast<size_t>(size),
                              0);  // plain ints: only the meetings order the accesses
    threads.run([&](int rank) {
      for (int i = 1; i <= 200; ++i) {
        progress[static_cast<size_t>(rank)] = i;
        rendezvous.meet(rank, {});
        for (const int other : progress)
          if (other != i) fail(ErrorCode::kInternal, "a rank is at ", other, " in round ", i);
        rendezvous.meet(rank, {.call = "second"});
      }
    });
  }
}

TEST("each rank's jobs run on one thread of its own, rank 0's on the caller's") {
  Rendezvous rendezvous(4, milliseconds(20000));
  RankThreads threads(rendezvous);
  std::array<std::set<std::thread::id>, 4> seen;
  for (int i = 0; i < 20; ++i)
    threads.run([&](int rank) { seen[static_cast<size_t>(rank)].insert(std::this_thread::get_id()); });
  std::set<std::thread::id> all;
  for (const auto& ids : seen) {
    CHECK_EQ(ids.size(), size_t{1});
    all.insert(ids.begin(), ids.end());
  }
  CHECK_EQ(all.size(), size_t{4});
  CHECK(seen[0].contains(std::this_thread::get_id()));
}

// A failure at a random place of a random rank: all come back, the first error is the one told, and the group
// works again.
TEST("one rank's error is everybody's, whatever it is, and is forgotten by reset") {
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    const int size = 2 + static_cast<int>(random() % 4), bad = static_cast<int>(random()) & 0xff,
              at = static_cast<int>(random() % 6);
    const int kind = static_cast<int>(random() % 3), rank_of_error = bad % size;
    Rendezvous rendezvous(size, milliseconds(20000));
    RankThreads threads(rendezvous);
    const std::function<void(int)> job = [&](int rank) {
      for (int i = 0; i < 6; ++i) {
        if (i == at && rank == rank_of_error) {
          if (kind == 0) fail(ErrorCode::kModelInvalid, "bad");
          if (kind == 1) throw std::bad_alloc();
          throw std::runtime_error("foreign");
        }
        rendezvous.meet(rank, {});
      }
    };
    const std::array<ErrorCode, 3> codes{ErrorCode::kModelInvalid, ErrorCode::kOutOfMemory,
                                         ErrorCode::kInternal};
    const std::string name = "rank " + std::to_string(rank_of_error) + ": ";
    CHECK_THROWS(threads.run(job), codes[static_cast<size_t>(kind)], name.c_str());
    CHECK_THROWS(threads.run([](int) {}), codes[static_cast<size_t>(kind)],
                 name.c_str());  // until it is reset
    rendezvous.reset();
    int met = 0;
    threads.run([&](int rank) {
      rendezvous.meet(rank, {});
      if (rank == 0) met = 1;
    });
    CHECK_EQ(met, 1);
  }
}

TEST("a rank that does not come is named when the time is over") {
  Rendezvous rendezvous(4, milliseconds(50));
  RankThreads threads(rendezvous);
  CHECK_THROWS(threads.run([&](int rank) {
    if (rank % 2 == 0) rendezvous.meet(rank, {.call = "all_gather", .rows = 3, .cols = 7});
  }),
               ErrorCode::kDevice, "ranks 1, 3 did not come to all_gather of 3 x 7 (meeting 0) within 50 ms");
  // Whoever comes late is told too.
  CHECK_THROWS(rendezvous.meet(1, {}), ErrorCode::kDevice, "did not come");
}

TEST("abort from outside wakes those who wait, and only the first reason counts") {
  Rendezvous rendezvous(2, milliseconds(60000));
  std::thread outside([&] {
    std::this_thread::sleep_for(milliseconds(20));
    rendezvous.abort(1, ErrorCode::kDevice, "the link is down");
    rendezvous.abort(0, ErrorCode::kInternal, "later");
  });
  CHECK_THROWS(rendezvous.meet(0, {}), ErrorCode::kDevice, "rank 1: the link is down");
  outside.join();
  CHECK(rendezvous.failed());
  CHECK_THROWS(rendezvous.check(), ErrorCode::kDevice, "rank 1: the link is down");
}

TEST("a group of one never waits and passes errors as they are") {
  Rendezvous rendezvous(1, milliseconds(1));
  RankThreads threads(rendezvous);
  threads.run([&](int) { rendezvous.meet(0, {}); });
  try {
    threads.run([](int) { fail(ErrorCode::kIo, "plain"); });
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQ(std::string(error.what()), std::string("plain"));
  }
  CHECK(!rendezvous.failed());
}

CHECK_MAIN
