// How ranks find each other: on their workers for the data, on their hosts for the first call of a kind.

#include <algorithm>

#include "control/api.h"
#include "control/config.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "hccl/comm.h"
#include "runtime/worker_clock.h"

namespace emu {

const char* collective_name(Collective kind) {
  constexpr const char* kNames[] = {"HcclAllReduce",
                                    "HcclAllGather",
                                    "HcclReduceScatter",
                                    "HcclBroadcast",
                                    "HcclReduce",
                                    "HcclScatter",
                                    "HcclAlltoAll",
                                    "HcclAlltoAllV",
                                    "HcclBarrier",
                                    "HcclSend/HcclRecv",
                                    "a fused matmul and reduction"};
  return kNames[static_cast<size_t>(kind)];
}

namespace {

constexpr int kTimeout = ACL_ERROR_RT_FFTS_PLUS_TIMEOUT;

std::string share_text(const Share& s) {
  return text(collective_name(s.kind), "(count ", s.count, ", dtype ", static_cast<int>(s.dtype), ", op ",
              static_cast<int>(s.op), ", root ", s.root, ")");
}

bool same(const Share& a, const Share& b) {
  return a.kind == b.kind && a.count == b.count && a.dtype == b.dtype && a.op == b.op && a.root == b.root;
}

// Guards Stream::blocked_in and Comm::queued of all.
std::mutex& blocked_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

struct BlockedMark {
  BlockedMark(Stream& stream, const Group* group) : stream_(stream) {
    const std::lock_guard lock(blocked_mutex());
    stream_.blocked_in = group;
  }
  ~BlockedMark() {
    const std::lock_guard lock(blocked_mutex());
    stream_.blocked_in = nullptr;
  }
  Stream& stream_;
};

// Does every way forward of `group` lead back to `start`? A missing rank whose next collective is queued on a
// stream that sits in another group's meeting waits for that group.
bool waits_for(const Group* group, const Group* start, std::vector<const Group*>& path) {
  if (std::ranges::find(path, group) != path.end()) return false;
  path.push_back(group);
  for (const Comm* comm : group->comms) {
    if (!comm || comm->queued.empty()) continue;
    const void* next = comm->queued.front()->blocked_in;
    if (!next || next == group) continue;
    if (next == start || waits_for(static_cast<const Group*>(next), start, path)) return true;
  }
  return false;
}

// Empty when there is none. One that is found ends every group in it.
std::string find_deadlock(Group& group, const Share& share, const std::string& who) {
  const std::lock_guard blocked(blocked_mutex());
  if (group.deadlocked) return "another group's part of a deadlock was found";
  std::vector<const Group*> path;
  for (const Comm* comm : group.comms) {
    if (!comm || comm->queued.empty()) continue;
    const auto* next = static_cast<const Group*>(comm->queued.front()->blocked_in);
    if (!next || next == &group || !waits_for(next, &group, path)) continue;
    for (const Group* member : path) const_cast<Group*>(member)->deadlocked = true;
    const std::string found = text("deadlock: ", who, " waits in ", share_text(share), " for rank ",
                                   comm->rank, ", whose stream waits in another group for this one");
    report_at(text("group ", group.name), found);
    return found;
  }
  return {};
}

std::string missing_ranks(const Meeting& meeting) {
  std::string missing;
  for (size_t rank = 0; rank < meeting.shares.size(); ++rank)
    if (!meeting.shares[rank]) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
  return missing;
}

// Joins a meeting and waits for its end. `lock` holds the group's mutex on entry.
void take_part(Group& group, const std::shared_ptr<Meeting>& meeting, uint32_t seat, const Share& share,
               Stream& stream, std::unique_lock<std::mutex>& lock, const std::string& who) {
  for (const Share* other : meeting->shares) {
    if (!other || same(*other, share) || !meeting->failed.empty()) continue;
    meeting->failed = text("collectives do not match: ", who, " issued ", share_text(share),
                           ", another rank ", share_text(*other));
    report_at(text("group ", group.name), meeting->failed);
  }
  meeting->shares[seat] = &share;
  ++meeting->arrived;
  if (injected_collective_hang()) meeting->hung = true;
  const uint64_t generation = unhang_generation();
  const bool last = meeting->arrived == meeting->shares.size();
  if (last && meeting->failed.empty() && !meeting->hung) {
    exchange(*meeting);
    meeting->done = true;
  }
  lock.unlock();
  const BlockedMark mark(stream, &group);
  int polls = 0;
  const auto over = [&] {
    const std::lock_guard guard(group.mutex);
    if (meeting->hung && unhang_generation() != generation && !meeting->done && meeting->failed.empty() &&
        meeting->arrived == meeting->shares.size()) {
      exchange(*meeting);
      meeting->done = true;
    }
    if (++polls % 64 == 0 && !meeting->done && meeting->failed.empty())
      meeting->failed = find_deadlock(group, share, who);
    return meeting->done || !meeting->failed.empty();
  };
  try {
    stream.block_until(
        over, config().exec_ms, kTimeout,
        text(who, " in ", share_text(share), meeting->hung ? " (injected: never completes)" : ""));
  } catch (TaskFault& fault) {
    const std::lock_guard guard(group.mutex);
    if (fault.code == kTimeout) fault.why += "; not there: ranks " + missing_ranks(*meeting);
    meeting->shares[seat] = nullptr;  // its memory is no longer ours to touch
    --meeting->arrived;
    throw;
  }
  const std::lock_guard guard(group.mutex);
  if (!meeting->failed.empty()) throw TaskFault{kTimeout, meeting->failed};
}

}  // namespace

void note_queued(Comm& comm, Stream& stream) {
  const std::lock_guard lock(blocked_mutex());
  comm.queued.push_back(&stream);
}

void note_begun(Comm& comm) {
  const std::lock_guard lock(blocked_mutex());
  if (!comm.queued.empty()) comm.queued.erase(comm.queued.begin());
}

void meet(Comm& comm, const Share& share, Stream& stream) {
  Group& group = *comm.group;
  std::unique_lock lock(group.mutex);
  const uint64_t number = comm.next++;
  std::shared_ptr<Meeting>& slot = group.meetings[number];
  if (!slot) {
    slot = std::make_shared<Meeting>();
    slot->shares.resize(group.ranks);
  }
  const std::shared_ptr<Meeting> meeting = slot;
  const std::string who = text("rank ", comm.rank, " of ", group.ranks);
  take_part(group, meeting, comm.rank, share, stream, lock, who);
  const std::lock_guard guard(group.mutex);
  if (++meeting->left == group.ranks) group.meetings.erase(number);
}

void meet_pair(Comm& comm, const Share& share, uint32_t from, uint32_t to, Stream& stream) {
  Group& group = *comm.group;
  std::unique_lock lock(group.mutex);
  const auto key = std::make_pair(from, to);
  auto& next = group.pair_next[key];
  const bool sends = comm.rank == from;
  const uint64_t number = sends ? next.first++ : next.second++;
  std::shared_ptr<Meeting>& slot = group.pairs[key][number];
  if (!slot) {
    slot = std::make_shared<Meeting>();
    slot->shares.resize(2);
  }
  const std::shared_ptr<Meeting> meeting = slot;
  take_part(group, meeting, sends ? 0 : 1, share, stream, lock, text("rank ", comm.rank));
  const std::lock_guard guard(group.mutex);
  if (++meeting->left == 2) group.pairs[key].erase(number);
}

void connect(Comm& comm, Collective kind, Stream& stream) {
  Group& group = *comm.group;
  {
    const std::lock_guard lock(group.mutex);
    std::set<uint32_t>& ready = group.connected[kind];
    if (ready.size() == group.ranks) return;
    ready.insert(comm.rank);
  }
  if (!rule_on("connect")) return;
  refuse_if_captured(stream, HCCL_E_RUNTIME,
                     "the first collective of a kind builds links; run it once before, not");
  const double deadline = now_us() + static_cast<double>(config().connect_ms) * 1000;
  for (int round = 0;; ++round) {
    {
      const std::lock_guard lock(group.mutex);
      if (group.connected[kind].size() == group.ranks) return;
    }
    if (now_us() > deadline) {
      const std::lock_guard lock(group.mutex);
      group.connected[kind].erase(comm.rank);
      decline(HCCL_E_TIMEOUT, "EI0006: not every rank issued its first ", collective_name(kind), " in time");
    }
    pause_worker(round);
  }
}

}  // namespace emu
