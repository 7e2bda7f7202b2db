#include "hccl/comm.h"

#include <cstring>

#include "control.h"
#include "control/api.h"
#include "control/config.h"
#include "control/faults.h"
#include "runtime/worker_clock.h"

namespace emu {
namespace {

constexpr char kTicket[] = "emulated root info";

// A group in the making, found by the ticket's number.
struct Gathering {
  std::shared_ptr<Group> group;
  std::map<uint32_t, int> devices;  // by rank
};

struct State {
  std::mutex mutex;
  std::vector<Comm*> comms;  // guarded by mutex, as below; never freed
  std::map<uint64_t, Gathering> gatherings;
  uint64_t next_group = 0;
};

State& state() {
  static State* instance = new State;
  return *instance;
}

uint64_t ticket_of(const HcclRootInfo* info) {
  require(std::memcmp(info->internal, kTicket, sizeof(kTicket)) == 0, HCCL_E_PARA,
          "the root info was not made by HcclGetRootInfo");
  uint64_t number;
  std::memcpy(&number, info->internal + sizeof(kTicket), sizeof(number));
  return number;
}

// Two buffers per communicator; scaled to the emulated card when the variable is not set.
size_t buffer_bytes(uint32_t buffer_mb) {
  if (buffer_mb != 0xffffffffu && buffer_mb != 0) return size_t{2} * buffer_mb << 20;
  if (const uint64_t mb = setting("HCCL_BUFFSIZE", 0)) return size_t{2} * mb << 20;
  return config().hbm_bytes / 64 * 400 / 1024;
}

}  // namespace

Comm& checked_comm(HcclComm handle) {
  require(handle, HCCL_E_PTR, "comm is null");
  State& s = state();
  const std::lock_guard lock(s.mutex);
  for (Comm* comm : s.comms)
    if (comm == handle) {
      require(comm->alive, HCCL_E_PARA, "the communicator was destroyed");
      return *comm;
    }
  refuse(HCCL_E_PARA, handle, " is not a communicator");
}

Comm& comm_by_name(const std::string& name, int device) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  for (Comm* comm : s.comms)
    if (comm->alive && comm->device == device && comm->group->name == name) return *comm;
  refuse(ACLNN_ERR_PARAM_INVALID, "no communicator named \"", name, "\" on device ", device);
}

std::shared_ptr<Group> new_group(uint32_t ranks) {
  State& s = state();
  auto group = std::make_shared<Group>();
  const std::lock_guard lock(s.mutex);
  group->name = "hccl_world_group_" + std::to_string(s.next_group++);
  group->ranks = ranks;
  group->comms.resize(ranks);
  return group;
}

Comm* new_comm(const std::shared_ptr<Group>& group, uint32_t rank, int device, uint32_t buffer_mb) {
  const size_t buffer = buffer_bytes(buffer_mb);
  try {
    take_system_memory(device, buffer);
  } catch (const Refusal& refusal) {
    decline(HCCL_E_MEMORY, "communicator buffers: ", refusal.why);
  }
  auto* comm = new Comm;
  comm->group = group;
  comm->rank = rank;
  comm->device = device;
  comm->buffer = buffer;
  {
    const std::lock_guard lock(group->mutex);
    group->comms[rank] = comm;
  }
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.comms.push_back(comm);
  return comm;
}

void destroy_comm(Comm& comm) {
  if (comm.pending > 0) {
    report(
        text(comm.pending.load(), " collectives of the communicator have not finished: synchronise first"));
    decline(HCCL_E_AGAIN, "the communicator is in use");
  }
  comm.alive = false;
  give_system_memory(comm.device, comm.buffer);
}

uint64_t live_comms() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  uint64_t n = 0;
  for (const Comm* comm : s.comms) n += comm->alive;
  return n;
}

void make_root_info(HcclRootInfo* info) {
  *info = {};
  State& s = state();
  uint64_t number;
  {
    const std::lock_guard lock(s.mutex);
    number = 1000 + s.next_group++;
    s.gatherings[number];
  }
  std::memcpy(info->internal, kTicket, sizeof(kTicket));
  std::memcpy(info->internal + sizeof(kTicket), &number, sizeof(number));
}

Comm* join_group(const HcclRootInfo* info, uint32_t ranks, uint32_t rank, int device, uint32_t buffer_mb) {
  require(ranks > 0 && rank < ranks, HCCL_E_PARA, "rank ", rank, " of ", ranks);
  const uint64_t number = ticket_of(info);
  State& s = state();
  std::shared_ptr<Group> group;
  {
    std::unique_lock lock(s.mutex);
    const auto found = s.gatherings.find(number);
    require(found != s.gatherings.end(), HCCL_E_PARA, "the root info's group is complete already");
    Gathering& g = found->second;
    if (!g.group) {
      lock.unlock();
      auto made = new_group(ranks);
      lock.lock();
      if (!g.group) g.group = made;
    }
    require(g.group->ranks == ranks, HCCL_E_PARA, "another rank joined with nRanks ", g.group->ranks,
            ", this one with ", ranks);
    for (const auto& [other, used] : g.devices)
      require(other != rank && used != device, HCCL_E_PARA, "rank ", rank, " or device ", device,
              " has joined already");
    g.devices[rank] = device;
    group = g.group;
  }
  const double deadline = now_us() + static_cast<double>(config().connect_ms) * 1000;
  for (int round = 0;; ++round) {
    {
      const std::lock_guard lock(s.mutex);
      if (s.gatherings[number].devices.size() == ranks) break;
      if (now_us() > deadline) {
        const size_t here = s.gatherings[number].devices.size();
        s.gatherings[number].devices.erase(rank);
        decline(HCCL_E_TIMEOUT, "EI0006: only ", here, " of ", ranks, " ranks joined in time");
      }
    }
    pause_worker(round);
  }
  return new_comm(group, rank, device, buffer_mb);
}

}  // namespace emu

extern "C" EMU_API void emu_set_comm_error(void* comm, int code) {
  try {
    emu::checked_comm(comm).async_error = code;
  } catch (const emu::Refusal&) {
  }
}
