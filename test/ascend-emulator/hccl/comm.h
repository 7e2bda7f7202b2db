#pragma once
// Communicators: a group of ranks in this process, each on its own device, and one handle per rank.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "abi/types.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace emu {

enum class Collective {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kBroadcast,
  kReduce,
  kScatter,
  kAllToAll,
  kAllToAllV,
  kBarrier,
  kSendRecv,
  kFusedSum
};
const char* collective_name(Collective kind);

// What one rank brings to a collective.
struct Share {
  Collective kind = Collective::kBarrier;
  uint64_t count = 0;
  HcclDataType dtype = HCCL_DATA_TYPE_FP32;
  HcclReduceOp op = HCCL_REDUCE_SUM;
  uint32_t root = 0;
  char *send = nullptr, *recv = nullptr;
  std::vector<uint64_t> send_counts, send_offsets, recv_counts, recv_offsets;  // kAllToAllV
  std::vector<float>* floats = nullptr;                                        // kFusedSum: summed in place
};

// One meeting of all ranks.
struct Meeting {
  std::vector<const Share*> shares;  // by rank; null: not here yet
  uint32_t arrived = 0, left = 0;
  bool done = false, hung = false;
  std::string failed;
};

struct Comm;

struct Group {
  std::string name;
  uint32_t ranks = 0;
  std::mutex mutex;
  std::map<uint64_t, std::shared_ptr<Meeting>> meetings;  // by sequence number; guarded by mutex, as below
  std::map<std::pair<uint32_t, uint32_t>, std::map<uint64_t, std::shared_ptr<Meeting>>> pairs;  // send/recv
  std::map<std::pair<uint32_t, uint32_t>, std::pair<uint64_t, uint64_t>> pair_next;
  std::map<Collective, std::set<uint32_t>> connected;  // ranks whose host issued a first call of the kind
  std::vector<Comm*> comms;
  std::atomic<bool> deadlocked{false};  // part of a cycle that was found: nobody in it can go on
};

struct Comm {
  std::shared_ptr<Group> group;
  uint32_t rank = 0;
  int device = 0;
  size_t buffer = 0;
  std::atomic<bool> alive{true};
  std::atomic<int> async_error{0}, pending{0};
  std::atomic<Context*> context{nullptr};
  uint64_t next = 0;            // sequence of its meetings; guarded by group->mutex
  std::vector<Stream*> queued;  // streams of submitted collectives not yet begun; by note_queued, note_begun
};

Comm& checked_comm(HcclComm handle);
Comm& comm_by_name(const std::string& name, int device);
std::shared_ptr<Group> new_group(uint32_t ranks);
Comm* new_comm(const std::shared_ptr<Group>& group, uint32_t rank, int device, uint32_t buffer_mb);
void destroy_comm(Comm& comm);
uint64_t live_comms();

// Root information: a ticket to a group that is filled as ranks arrive.
void make_root_info(HcclRootInfo* info);
Comm* join_group(const HcclRootInfo* info, uint32_t ranks, uint32_t rank, int device, uint32_t buffer_mb);

// Waits on the worker until all ranks brought their share; the last one does the work.
void meet(Comm& comm, const Share& share, Stream& stream);
void meet_pair(Comm& comm, const Share& share, uint32_t from, uint32_t to, Stream& stream);
// For the search for deadlocks: a collective of `comm` was put on `stream`; the oldest one began.
void note_queued(Comm& comm, Stream& stream);
void note_begun(Comm& comm);
// Host side of the first call of a kind: blocks until every rank issued it.
void connect(Comm& comm, Collective kind, Stream& stream);

// The arithmetic, once all shares are there.
void exchange(Meeting& meeting);
size_t hccl_size(HcclDataType dtype);

}  // namespace emu
