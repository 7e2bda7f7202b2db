// The ABI of libhccl.so.

#include <cstring>

#include "abi/hccl.h"
#include "control/api.h"
#include "control/config.h"
#include "control/counters.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "hccl/comm.h"

namespace {

using namespace emu;

constexpr int kParam = HCCL_E_PARA;
constexpr uint32_t kMagic = 0xf0f0f0f0u;

template <class... A, class Body>
HcclResult hccl(const char* name, const std::tuple<A...>& arguments, Body&& body) {
  return static_cast<HcclResult>(api(name, arguments, body));
}

// The thread's device; HCCL says so in its own words.
Context& hccl_context() {
  Context* context = current_context_or_null();
  require(context, HCCL_E_RUNTIME, "no device is set on this thread");
  check_health(*context);
  return *context;
}

uint32_t config_buffer(const HcclCommConfig* config) {
  if (!config) return 0xffffffffu;
  require(config->magic == kMagic, kParam, "the communicator config's magic is ", config->magic);
  require(config->size >= 300, kParam, "the communicator config's size is ", config->size);
  return config->hcclBufferSize;
}

// Threads that issue on one device at the same time.
struct IssueMark {
  explicit IssueMark(int device) : flag(flags()[static_cast<size_t>(device)]) {
    if (flag.exchange(true))
      report("collectives are issued on one device from several threads at the same time");
  }
  ~IssueMark() { flag = false; }
  static std::atomic<bool>* flags() {
    static auto* all = new std::atomic<bool>[256]();
    return all;
  }
  std::atomic<bool>& flag;
};

struct Buffer {
  void* at = nullptr;
  uint64_t bytes = 0;
  uint64_t block = 0;
};

Buffer check_buffer(const void* at, uint64_t count, HcclDataType dtype, Comm& comm, const char* what) {
  const size_t size = hccl_size(dtype);
  require(size > 0, HCCL_E_NOT_SUPPORT, "dtype ", static_cast<int>(dtype));
  Buffer b{const_cast<void*>(at), count * size, 0};
  if (b.bytes == 0) return b;
  require(at, HCCL_E_PTR, what, " is null");
  require(reinterpret_cast<uintptr_t>(at) % size == 0, kParam, what, " is not aligned to its element size");
  b.block = device_bytes(at, b.bytes, comm.device, kParam, what, false).block;
  return b;
}

char* open_buffer(const Buffer& b, int device, std::vector<Bytes>& keep) {
  if (b.bytes == 0) return nullptr;
  constexpr int kFault = ACL_ERROR_RT_FFTS_PLUS_EXCEPTION;
  keep.push_back(device_bytes(b.at, b.bytes, device, kFault, "a collective's buffer", false));
  require(keep.back().block == b.block, kFault,
          "a collective's buffer was freed and allocated anew while it was queued");
  return keep.back().at;
}

void check_reduction(HcclDataType dtype, HcclReduceOp op) {
  const bool known = dtype == HCCL_DATA_TYPE_INT8 || dtype == HCCL_DATA_TYPE_INT16 ||
                     dtype == HCCL_DATA_TYPE_INT32 || dtype == HCCL_DATA_TYPE_INT64 ||
                     dtype == HCCL_DATA_TYPE_FP16 || dtype == HCCL_DATA_TYPE_FP32 ||
                     dtype == HCCL_DATA_TYPE_BFP16;
  require(known, HCCL_E_NOT_SUPPORT, "reductions have no dtype ", static_cast<int>(dtype));
  require(op >= HCCL_REDUCE_SUM && op <= HCCL_REDUCE_MIN, kParam, "unknown reduction ", static_cast<int>(op));
  require(op != HCCL_REDUCE_PROD || (dtype != HCCL_DATA_TYPE_INT16 && dtype != HCCL_DATA_TYPE_BFP16),
          HCCL_E_NOT_SUPPORT, "no product of dtype ", static_cast<int>(dtype));
}

struct Plan {
  Share share;
  Buffer send, recv;
  int peer = -1;  // send/recv
};

Stream& issue_stream(Comm& comm, aclrtStream handle) {
  Context& context = hccl_context();
  require(context.device == comm.device, kParam, "the communicator belongs to device ", comm.device,
          ", the thread's device is ", context.device);
  Context* expected = nullptr;
  if (!comm.context.compare_exchange_strong(expected, &context))
    require(expected == &context, kParam, "the communicator is used from two contexts");
  require(handle, HCCL_E_PTR, "stream is null");
  return own_stream(handle);
}

// Checks are done; puts the meeting on the stream.
void issue(Comm& comm, Stream& stream, const Plan& plan) {
  const IssueMark mark(comm.device);
  connect(comm, plan.share.kind, stream);
  count(Count::kCollectives);
  count(Count::kCollectiveBytes, plan.send.bytes ? plan.send.bytes : plan.recv.bytes);
  const bool eager = !is_capturing(stream);
  const bool queued = eager && plan.peer < 0;
  if (queued) note_queued(comm, stream);
  ++comm.pending;
  const std::shared_ptr<void> pending(nullptr, [&comm](void*) { --comm.pending; });
  // A captured collective stays in its graph: only queued ones keep the communicator busy.
  const std::shared_ptr<void> held = eager ? pending : nullptr;
  auto task = make_task(collective_name(plan.share.kind), TaskKind::kCollective,
                        [&comm, plan, held, queued](Stream& at) {
                          if (queued) note_begun(comm);
                          Share share = plan.share;
                          std::vector<Bytes> keep;
                          share.send = open_buffer(plan.send, comm.device, keep);
                          share.recv = open_buffer(plan.recv, comm.device, keep);
                          if (plan.peer < 0) return meet(comm, share, at);
                          const auto peer = static_cast<uint32_t>(plan.peer);
                          share.send ? meet_pair(comm, share, comm.rank, peer, at)
                                     : meet_pair(comm, share, peer, comm.rank, at);
                        });
  task->describe = [plan] {
    return text("send ", describe(plan.send.at), ", recv ", describe(plan.recv.at), ", count ",
                plan.share.count);
  };
  submit(stream, std::move(task));
}

void collective(Collective kind, const void* send, uint64_t send_count, const void* recv, uint64_t recv_count,
                uint64_t n, HcclDataType dtype, HcclReduceOp op, uint32_t root, HcclComm handle,
                aclrtStream stream_handle) {
  Comm& comm = checked_comm(handle);
  Stream& stream = issue_stream(comm, stream_handle);
  require(root < comm.group->ranks, kParam, "root ", root, " of ", comm.group->ranks, " ranks");
  Plan plan;
  plan.share.kind = kind;
  plan.share.count = n;
  plan.share.dtype = dtype;
  plan.share.op = op;
  plan.share.root = root;
  plan.send = check_buffer(send, send_count, dtype, comm, "sendBuf");
  plan.recv = check_buffer(recv, recv_count, dtype, comm, "recvBuf");
  issue(comm, stream, plan);
}

uint64_t ranks_of(HcclComm handle) {
  return checked_comm(handle).group->ranks;
}

void join(uint32_t ranks, const HcclRootInfo* info, uint32_t rank, const HcclCommConfig* config,
          HcclComm* comm) {
  require(info && comm, HCCL_E_PTR, "null argument");
  const uint32_t buffer = config_buffer(config);
  *comm = join_group(info, ranks, rank, hccl_context().device, buffer);
}

}  // namespace

extern "C" {

HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo) {
  return hccl("HcclGetRootInfo", args(rootInfo), [&] {
    require(rootInfo, HCCL_E_PTR, "rootInfo is null");
    hccl_context();
    make_root_info(rootInfo);
  });
}

HcclResult HcclCommInitRootInfo(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                HcclComm* comm) {
  return hccl("HcclCommInitRootInfo", args(nRanks, rootInfo, rank, comm),
              [&] { join(nRanks, rootInfo, rank, nullptr, comm); });
}

HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                      const HcclCommConfig* config, HcclComm* comm) {
  return hccl("HcclCommInitRootInfoConfig", args(nRanks, rootInfo, rank, config, comm), [&] {
    require(config, HCCL_E_PTR, "config is null");
    join(nRanks, rootInfo, rank, config, comm);
  });
}

HcclResult HcclCommInitAll(uint32_t ndev, int32_t* devices, HcclComm* comms) {
  return hccl("HcclCommInitAll", args(ndev, devices, comms), [&] {
    require(devices && comms, HCCL_E_PTR, "null argument");
    hccl_context();
    require(ndev > 0, kParam, "ndev is 0");
    for (uint32_t i = 0; i < ndev; ++i) {
      comms[i] = nullptr;
      require(devices[i] >= 0 && devices[i] < device_count(), kParam, "device ", devices[i],
              " does not exist");
      for (uint32_t j = 0; j < i; ++j)
        require(devices[i] != devices[j], kParam, "device ", devices[i], " appears twice");
    }
    const std::shared_ptr<Group> group = new_group(ndev);
    try {
      for (uint32_t i = 0; i < ndev; ++i) comms[i] = new_comm(group, i, devices[i], 0xffffffffu);
    } catch (const Refusal& refusal) {
      for (uint32_t i = 0; i < ndev; ++i) {
        if (comms[i]) destroy_comm(*static_cast<Comm*>(comms[i]));
        comms[i] = nullptr;
      }
      decline(HCCL_E_INTERNAL, refusal.why);
    }
  });
}

HcclResult HcclCommDestroy(HcclComm comm) {
  return hccl("HcclCommDestroy", args(comm), [&] {
    if (!comm) return;
    Comm& c = checked_comm(comm);
    Context* context = current_context_or_null();
    require(context && context->device == c.device, HCCL_E_RUNTIME, "the communicator's device ", c.device,
            " is not set on this thread");
    destroy_comm(c);
  });
}

HcclResult HcclGetRankSize(HcclComm comm, uint32_t* rankSize) {
  return hccl("HcclGetRankSize", args(comm, rankSize), [&] {
    require(rankSize, HCCL_E_PTR, "rankSize is null");
    *rankSize = checked_comm(comm).group->ranks;
  });
}

HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank) {
  return hccl("HcclGetRankId", args(comm, rank), [&] {
    require(rank, HCCL_E_PTR, "rank is null");
    *rank = checked_comm(comm).rank;
  });
}

HcclResult HcclGetCommName(HcclComm comm, char* commName) {
  return hccl("HcclGetCommName", args(comm, static_cast<const void*>(commName)), [&] {
    require(commName, HCCL_E_PTR, "commName is null");
    std::strncpy(commName, checked_comm(comm).group->name.c_str(), 128);
  });
}

HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* asyncError) {
  return hccl("HcclGetCommAsyncError", args(comm, asyncError), [&] {
    require(asyncError, HCCL_E_PTR, "asyncError is null");
    Comm& c = checked_comm(comm);
    *asyncError = static_cast<HcclResult>(c.async_error.load());
    const std::lock_guard lock(c.group->mutex);
    for (const Comm* peer : c.group->comms)
      if (peer && peer->device != c.device && lost_code(peer->device)) *asyncError = HCCL_E_REMOTE;
  });
}

const char* HcclGetErrorString(HcclResult code) {
  constexpr const char* kTexts[] = {"no error",
                                    "parameter error",
                                    "empty pointer",
                                    "memory error",
                                    "internal error",
                                    "not support feature",
                                    "not found specific resource",
                                    "resource unavailable",
                                    "call system interface error",
                                    "timeout",
                                    "open file fail",
                                    "tcp connect fail",
                                    "roce connect fail",
                                    "tcp transfer fail",
                                    "roce transfer fail",
                                    "call runtime api fail",
                                    "call driver api fail",
                                    "call profiling api fail",
                                    "call cce api fail",
                                    "call network api fail",
                                    "try again",
                                    "error cqe",
                                    "error communicator suspending",
                                    "retry constraint",
                                    "out of memory"};
  const int n = code, known = compare_versions(config().version, "9.0.0") >= 0 ? 25 : 22;
  return n >= 0 && n < known ? kTexts[n] : "unknown error";
}

HcclResult HcclSetConfig(HcclConfig config, HcclConfigValue configValue) {
  return hccl("HcclSetConfig", args(config, configValue.value), [&] {
    require(config == HCCL_DETERMINISTIC && (configValue.value == 0 || configValue.value == 1), kParam,
            "unknown setting");
  });
}

HcclResult HcclGetConfig(HcclConfig config, HcclConfigValue* configValue) {
  return hccl("HcclGetConfig", args(config, configValue), [&] {
    require(configValue, HCCL_E_PTR, "configValue is null");
    configValue->value = 0;
  });
}

uint32_t HcclGetCommConfigCapability(void) {
  return compare_versions(config().version, "8.5.0") >= 0 ? 12 : 5;
}

HcclResult HcclBarrier(HcclComm comm, aclrtStream stream) {
  return hccl("HcclBarrier", args(comm, stream), [&] {
    collective(Collective::kBarrier, nullptr, 0, nullptr, 0, 0, HCCL_DATA_TYPE_INT8, HCCL_REDUCE_SUM, 0, comm,
               stream);
  });
}

HcclResult HcclAllReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                         HcclComm comm, aclrtStream stream) {
  return hccl("HcclAllReduce", args(sendBuf, recvBuf, count, dataType, op, comm, stream), [&] {
    check_reduction(dataType, op);
    collective(Collective::kAllReduce, sendBuf, count, recvBuf, count, count, dataType, op, 0, comm, stream);
  });
}

HcclResult HcclAllGather(void* sendBuf, void* recvBuf, uint64_t sendCount, HcclDataType dataType,
                         HcclComm comm, aclrtStream stream) {
  return hccl("HcclAllGather", args(sendBuf, recvBuf, sendCount, dataType, comm, stream), [&] {
    collective(Collective::kAllGather, sendBuf, sendCount, recvBuf, sendCount * ranks_of(comm), sendCount,
               dataType, HCCL_REDUCE_SUM, 0, comm, stream);
  });
}

HcclResult HcclReduceScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType,
                             HcclReduceOp op, HcclComm comm, aclrtStream stream) {
  return hccl("HcclReduceScatter", args(sendBuf, recvBuf, recvCount, dataType, op, comm, stream), [&] {
    check_reduction(dataType, op);
    collective(Collective::kReduceScatter, sendBuf, recvCount * ranks_of(comm), recvBuf, recvCount, recvCount,
               dataType, op, 0, comm, stream);
  });
}

HcclResult HcclBroadcast(void* buf, uint64_t count, HcclDataType dataType, uint32_t root, HcclComm comm,
                         aclrtStream stream) {
  return hccl("HcclBroadcast", args(buf, count, dataType, root, comm, stream), [&] {
    collective(Collective::kBroadcast, buf, count, buf, count, count, dataType, HCCL_REDUCE_SUM, root, comm,
               stream);
  });
}

HcclResult HcclReduce(void* sendBuf, void* recvBuf, uint64_t count, HcclDataType dataType, HcclReduceOp op,
                      uint32_t root, HcclComm comm, aclrtStream stream) {
  return hccl("HcclReduce", args(sendBuf, recvBuf, count, dataType, op, root, comm, stream), [&] {
    check_reduction(dataType, op);
    const bool receives = checked_comm(comm).rank == root;
    collective(Collective::kReduce, sendBuf, count, recvBuf, receives ? count : 0, count, dataType, op, root,
               comm, stream);
  });
}

HcclResult HcclScatter(void* sendBuf, void* recvBuf, uint64_t recvCount, HcclDataType dataType, uint32_t root,
                       HcclComm comm, aclrtStream stream) {
  return hccl("HcclScatter", args(sendBuf, recvBuf, recvCount, dataType, root, comm, stream), [&] {
    const bool sends = checked_comm(comm).rank == root;
    collective(Collective::kScatter, sendBuf, sends ? recvCount * ranks_of(comm) : 0, recvBuf, recvCount,
               recvCount, dataType, HCCL_REDUCE_SUM, root, comm, stream);
  });
}

HcclResult HcclAlltoAll(const void* sendBuf, uint64_t sendCount, HcclDataType sendType, const void* recvBuf,
                        uint64_t recvCount, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
  return hccl("HcclAlltoAll", args(sendBuf, sendCount, sendType, recvBuf, recvCount, recvType, comm, stream),
              [&] {
                require(sendCount == recvCount && sendType == recvType, kParam, "send and receive differ");
                const uint64_t all = sendCount * ranks_of(comm);
                collective(Collective::kAllToAll, sendBuf, all, recvBuf, all, sendCount, sendType,
                           HCCL_REDUCE_SUM, 0, comm, stream);
              });
}

HcclResult HcclAlltoAllV(const void* sendBuf, const void* sendCounts, const void* sdispls,
                         HcclDataType sendType, const void* recvBuf, const void* recvCounts,
                         const void* rdispls, HcclDataType recvType, HcclComm comm, aclrtStream stream) {
  return hccl(
      "HcclAlltoAllV",
      args(sendBuf, sendCounts, sdispls, sendType, recvBuf, recvCounts, rdispls, recvType, comm, stream),
      [&] {
        require(sendCounts && sdispls && recvCounts && rdispls, HCCL_E_PTR, "null argument");
        require(sendType == recvType, kParam, "send and receive differ");
        Comm& c = checked_comm(comm);
        Stream& s = issue_stream(c, stream);
        Plan plan;
        plan.share.kind = Collective::kAllToAllV;
        plan.share.dtype = sendType;
        const auto copy = [&](const void* from) {
          const auto* v = static_cast<const uint64_t*>(from);
          return std::vector<uint64_t>(v, v + c.group->ranks);
        };
        plan.share.send_counts = copy(sendCounts);
        plan.share.send_offsets = copy(sdispls);
        plan.share.recv_counts = copy(recvCounts);
        plan.share.recv_offsets = copy(rdispls);
        const auto end = [](const std::vector<uint64_t>& counts, const std::vector<uint64_t>& offsets) {
          uint64_t high = 0;
          for (size_t i = 0; i < counts.size(); ++i) high = std::max(high, offsets[i] + counts[i]);
          return high;
        };
        plan.send = check_buffer(sendBuf, end(plan.share.send_counts, plan.share.send_offsets), sendType, c,
                                 "sendBuf");
        plan.recv = check_buffer(recvBuf, end(plan.share.recv_counts, plan.share.recv_offsets), recvType, c,
                                 "recvBuf");
        issue(c, s, plan);
      });
}

HcclResult HcclSend(void* sendBuf, uint64_t count, HcclDataType dataType, uint32_t destRank, HcclComm comm,
                    aclrtStream stream) {
  return hccl("HcclSend", args(sendBuf, count, dataType, destRank, comm, stream), [&] {
    Comm& c = checked_comm(comm);
    Stream& s = issue_stream(c, stream);
    require(destRank < c.group->ranks && destRank != c.rank, kParam, "destRank ", destRank);
    Plan plan;
    plan.share.kind = Collective::kSendRecv;
    plan.share.count = count;
    plan.share.dtype = dataType;
    plan.peer = static_cast<int>(destRank);
    plan.send = check_buffer(sendBuf, count, dataType, c, "sendBuf");
    issue(c, s, plan);
  });
}

HcclResult HcclRecv(void* recvBuf, uint64_t count, HcclDataType dataType, uint32_t srcRank, HcclComm comm,
                    aclrtStream stream) {
  return hccl("HcclRecv", args(recvBuf, count, dataType, srcRank, comm, stream), [&] {
    Comm& c = checked_comm(comm);
    Stream& s = issue_stream(c, stream);
    require(srcRank < c.group->ranks && srcRank != c.rank, kParam, "srcRank ", srcRank);
    Plan plan;
    plan.share.kind = Collective::kSendRecv;
    plan.share.count = count;
    plan.share.dtype = dataType;
    plan.peer = static_cast<int>(srcRank);
    plan.recv = check_buffer(recvBuf, count, dataType, c, "recvBuf");
    issue(c, s, plan);
  });
}

}  // extern "C"
