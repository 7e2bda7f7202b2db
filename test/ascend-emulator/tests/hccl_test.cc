// Collectives between rank threads, mismatches, deadlocks, timeouts, communicator life.

#include <atomic>
#include <functional>

#include "harness.h"

namespace {

// One thread per rank with its device, stream and communicator.
class Ranks {
 public:
  explicit Ranks(int n) : comms_(static_cast<size_t>(n)) {
    std::vector<int32_t> ids(comms_.size());
    for (int i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = i;
    OK(ACL(HcclCommInitAll)(static_cast<uint32_t>(n), ids.data(), comms_.data()));
  }
  using Body = std::function<void(int rank, HcclComm comm, aclrtStream stream)>;
  void run(const Body& body) {
    std::vector<std::thread> threads;
    for (size_t r = 0; r < comms_.size(); ++r)
      threads.emplace_back([&, r] {
        OK(ACL(aclrtSetDevice)(static_cast<int32_t>(r)));
        aclrtStream stream = nullptr;
        OK(ACL(aclrtCreateStream)(&stream));
        body(static_cast<int>(r), comms_[r], stream);
        ACL(aclrtDestroyStream)(stream);
        ACL(aclrtResetDevice)(static_cast<int32_t>(r));
      });
    for (std::thread& t : threads) t.join();
  }
  HcclComm comm(size_t rank) const { return comms_[rank]; }
  void close() {
    run([](int, HcclComm comm, aclrtStream) { OK(ACL(HcclCommDestroy)(comm)); });
  }

 private:
  std::vector<HcclComm> comms_;
};

// Ranks' contexts must outlive the bodies above, which only borrow the devices.
struct Devices {
  Devices() {
    ACL(aclInit)(nullptr);
    for (int i = 0; i < 4; ++i) OK(ACL(aclrtSetDevice)(i));
    ACL(emu_clear_violations)();
  }
  ~Devices() {
    for (int i = 0; i < 4; ++i) {
      OK(ACL(aclrtResetDeviceForce)(i));
    }
    ACL(emu_clear_violations)();
  }
};

std::vector<uint16_t> bf(std::vector<float> values) {
  std::vector<uint16_t> out;
  for (const float v : values) out.push_back(to_bf16(v));
  return out;
}

}  // namespace

TEST("all-reduce, all-gather, reduce-scatter, broadcast and the rest between four ranks") {
  Devices devices;
  Ranks ranks(4);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    const auto v = static_cast<float>(r);
    uint32_t size = 0, id = 9;
    OK(ACL(HcclGetRankSize)(comm, &size));
    OK(ACL(HcclGetRankId)(comm, &id));
    CHECK(size == 4 && id == static_cast<uint32_t>(r));
    Buffer sum(bf({1 + v, 2}));
    OK(ACL(HcclAllReduce)(sum.at, sum.at, 2, HCCL_DATA_TYPE_BFP16, HCCL_REDUCE_SUM, comm, s));
    Buffer mine(std::vector<int32_t>{r, r * 10}), all(32), part(8);
    OK(ACL(HcclAllGather)(mine.at, all.at, 2, HCCL_DATA_TYPE_INT32, comm, s));
    OK(ACL(HcclReduceScatter)(all.at, part.at, 2, HCCL_DATA_TYPE_INT32, HCCL_REDUCE_MAX, comm, s));
    Buffer shared(std::vector<int32_t>{r});
    OK(ACL(HcclBroadcast)(shared.at, 1, HCCL_DATA_TYPE_INT32, 2, comm, s));
    Buffer total(std::vector<int32_t>{-5});
    OK(ACL(HcclReduce)(mine.at, total.at, 1, HCCL_DATA_TYPE_INT32, HCCL_REDUCE_SUM, 1, comm, s));
    Buffer piece(4);
    OK(ACL(HcclScatter)(all.at, piece.at, 1, HCCL_DATA_TYPE_INT32, 0, comm, s));
    Buffer out(std::vector<int32_t>{r, r + 100, r + 200, r + 300}), in(16);
    OK(ACL(HcclAlltoAll)(out.at, 1, HCCL_DATA_TYPE_INT32, in.at, 1, HCCL_DATA_TYPE_INT32, comm, s));
    OK(ACL(HcclBarrier)(comm, s));
    Buffer message(std::vector<int32_t>{r * 7}), received(4);
    if (r % 2 == 0)
      OK(ACL(HcclSend)(message.at, 1, HCCL_DATA_TYPE_INT32, static_cast<uint32_t>(r + 1), comm, s));
    else
      OK(ACL(HcclRecv)(received.at, 1, HCCL_DATA_TYPE_INT32, static_cast<uint32_t>(r - 1), comm, s));
    OK(ACL(aclrtSynchronizeStream)(s));
    CHECK_EQ(from_bf16(sum.read<uint16_t>()[0]), 10.0f);
    CHECK_EQ(from_bf16(sum.read<uint16_t>()[1]), 8.0f);
    CHECK((all.read<int32_t>() == std::vector<int32_t>{0, 0, 1, 10, 2, 20, 3, 30}));
    CHECK_EQ(part.read<int32_t>()[1], r * 10);
    CHECK_EQ(shared.read<int32_t>()[0], 2);
    CHECK_EQ(total.read<int32_t>()[0], r == 1 ? 6 : -5);
    CHECK_EQ(piece.read<int32_t>()[0], (std::vector<int32_t>{0, 0, 1, 10})[static_cast<size_t>(r)]);
    CHECK_EQ(in.read<int32_t>()[3], r * 100 + 3);
    if (r % 2) CHECK_EQ(received.read<int32_t>()[0], (r - 1) * 7);
  });
  ranks.close();
  CLEAN();
}

TEST("root info: every rank joins with its own device") {
  Devices devices;
  OK(ACL(aclrtSetDevice)(0));
  HcclRootInfo info;
  OK(ACL(HcclGetRootInfo)(&info));
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      Bound d(static_cast<int>(r));
      HcclCommConfig config{};
      config.size = sizeof(config);
      config.magic = 0xf0f0f0f0u;
      config.version = 5;
      config.hcclBufferSize = 4;
      config.hcclDeterministic = config.hcclRdmaTrafficClass = config.hcclRdmaServiceLevel = 0xffffffffu;
      HcclComm comm = nullptr;
      OK(ACL(HcclCommInitRootInfoConfig)(2, &info, r, &config, &comm));
      Buffer x(std::vector<float>{1.5f});
      OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, d.stream));
      d.sync();
      CHECK_EQ(x.read<float>()[0], 3.0f);
      char name[128];
      OK(ACL(HcclGetCommName)(comm, name));
      CHECK(std::strlen(name) > 0);
      OK(ACL(HcclCommDestroy)(comm));
    });
  for (std::thread& t : threads) t.join();
  OK(ACL(aclrtResetDevice)(0));
  HcclCommConfig wrong{};
  wrong.size = sizeof(wrong);
  HcclComm comm = nullptr;
  OK(ACL(aclrtSetDevice)(0));
  REFUSED(HcclCommInitRootInfoConfig, HCCL_E_PARA, 2, &info, 0, &wrong, &comm);
  OK(ACL(aclrtResetDevice)(0));
  CLEAN();
}

TEST("arguments: duplicates, foreign devices, dtypes, roots, memory of another rank") {
  Devices devices;
  OK(ACL(aclrtSetDevice)(0));
  HcclComm comms[2];
  int32_t twice[] = {0, 0}, far[] = {0, 99}, pair[] = {0, 1};
  REFUSED(HcclCommInitAll, HCCL_E_PARA, 2, twice, comms);
  REFUSED(HcclCommInitAll, HCCL_E_PARA, 2, far, comms);
  std::thread([&] { REFUSED(HcclCommInitAll, HCCL_E_RUNTIME, 2, pair, comms); }).join();
  OK(ACL(HcclCommInitAll)(2, pair, comms));
  aclrtStream s = nullptr;
  OK(ACL(aclrtCreateStream)(&s));
  Buffer x(64);
  REFUSED(HcclAllReduce, HCCL_E_PARA, x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comms[1],
          s);  // rank 1's comm on device 0
  REFUSED(HcclAllReduce, HCCL_E_NOT_SUPPORT, x.at, x.at, 1, HCCL_DATA_TYPE_UINT8, HCCL_REDUCE_SUM, comms[0],
          s);
  REFUSED(HcclAllReduce, HCCL_E_NOT_SUPPORT, x.at, x.at, 1, HCCL_DATA_TYPE_BFP16, HCCL_REDUCE_PROD, comms[0],
          s);
  REFUSED(HcclAllReduce, HCCL_E_PARA, x.at, x.at, 17, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comms[0],
          s);  // too long
  REFUSED(HcclAllReduce, HCCL_E_PARA, static_cast<char*>(x.at) + 1, x.at, 1, HCCL_DATA_TYPE_FP32,
          HCCL_REDUCE_SUM, comms[0], s);
  REFUSED(HcclAllReduce, HCCL_E_PTR, nullptr, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comms[0], s);
  REFUSED(HcclAllReduce, HCCL_E_PTR, x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, nullptr, s);
  REFUSED(HcclBroadcast, HCCL_E_PARA, x.at, 1, HCCL_DATA_TYPE_FP32, 2, comms[0], s);
  REFUSED(HcclCommDestroy, HCCL_E_RUNTIME, comms[1]);
  OK(ACL(HcclCommDestroy)(nullptr));
  OK(ACL(HcclCommDestroy)(comms[0]));
  REFUSED(HcclCommDestroy, HCCL_E_PARA, comms[0]);
  OK(ACL(aclrtDestroyStream)(s));
  OK(ACL(aclrtSetDevice)(1));
  OK(ACL(HcclCommDestroy)(comms[1]));
  OK(ACL(aclrtResetDevice)(1));
  OK(ACL(aclrtSetDevice)(0));
  OK(ACL(aclrtResetDevice)(0));
  CLEAN();
}

TEST("the first collective of a kind blocks until every rank issued it") {
  Devices devices;
  ACL(emu_set_timeouts_ms)(50, 0, 0, 0);
  Ranks ranks(2);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1});
    if (r == 0)
      CHECK_EQ(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s),
               HCCL_E_TIMEOUT);
  });
  ACL(emu_set_timeouts_ms)(140000, 0, 0, 0);
  ranks.close();
  CLEAN();
}

TEST("mismatched collectives are reported with both sides, and fail instead of hanging") {
  Devices devices;
  Ranks ranks(2);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1, 2});
    OK(ACL(HcclAllReduce)(x.at, x.at, 2, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    OK(ACL(aclrtSynchronizeStream)(s));
    OK(ACL(HcclAllReduce)(x.at, x.at, static_cast<uint64_t>(1 + r), HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM,
                          comm, s));
    CHECK_EQ(ACL(aclrtSynchronizeStream)(s), ACL_ERROR_RT_FFTS_PLUS_TIMEOUT);
  });
  CHECK(violation(0).find("collectives do not match") != std::string::npos);
  CHECK(violation(0).find("count 1") != std::string::npos &&
        violation(0).find("count 2") != std::string::npos);
  ACL(emu_clear_violations)();
}

TEST("a missing rank runs into the execution timeout, which names it") {
  Devices devices;
  ACL(emu_set_rule)("connect", 0);
  ACL(emu_set_timeouts_ms)(0, 60, 0, 0);
  Ranks ranks(2);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1});
    if (r != 0) return;
    OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    CHECK_EQ(ACL(aclrtSynchronizeStream)(s), ACL_ERROR_RT_FFTS_PLUS_TIMEOUT);
    const char* text = ACL(aclGetRecentErrMsg)();
    CHECK(text && std::strstr(text, "not there: ranks 1"));
  });
  ACL(emu_set_timeouts_ms)(0, 1836000, 0, 0);
  ACL(emu_set_rule)("connect", 1);
  CLEAN();
}

TEST("two communicators used in opposite orders deadlock, and it is found at once") {
  Devices devices;
  ACL(emu_set_rule)("connect", 0);
  Ranks a(2);
  HcclComm second[2];
  int32_t ids[] = {0, 1};
  OK(ACL(HcclCommInitAll)(2, ids, second));
  a.run([&](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1});
    const HcclComm order[2] = {r == 0 ? comm : second[r], r == 0 ? second[r] : comm};
    for (const HcclComm c : order)
      OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, c, s));
    CHECK_EQ(ACL(aclrtSynchronizeStream)(s), ACL_ERROR_RT_FFTS_PLUS_TIMEOUT);
  });
  CHECK(violation(0).find("deadlock") != std::string::npos);
  ACL(emu_clear_violations)();
  ACL(emu_set_rule)("connect", 1);
}

TEST("an injected collective never completes; polling for errors; destroying in use") {
  Devices devices;
  Ranks ranks(2);
  ranks.run([](int, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1});
    OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    OK(ACL(aclrtSynchronizeStream)(s));
  });
  ACL(emu_hang_collective)(1);
  std::atomic<int> waiting{0};
  ranks.run([&](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1});
    OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    CHECK_EQ(ACL(aclrtSynchronizeStreamWithTimeout)(s, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
    CHECK_EQ(ACL(HcclCommDestroy)(comm), HCCL_E_AGAIN);
    HcclResult state = HCCL_SUCCESS;
    OK(ACL(HcclGetCommAsyncError)(comm, &state));
    CHECK_EQ(state, HCCL_SUCCESS);
    if (r == 0) {
      ACL(emu_set_comm_error)(comm, HCCL_E_REMOTE);
      OK(ACL(HcclGetCommAsyncError)(comm, &state));
      CHECK_EQ(state, HCCL_E_REMOTE);
    }
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
    if (r == 0) ACL(emu_clear_faults)();  // lets it complete
    OK(ACL(aclrtSynchronizeStream)(s));
    CHECK_EQ(x.read<float>()[0], 2.0f);
  });
  ACL(emu_clear_violations)();
  ranks.close();
  CLEAN();
}

TEST("a lost peer shows in the polled error") {
  Devices devices;
  Ranks ranks(2);
  ACL(emu_lose_device)(1, ACL_ERROR_RT_LOST_HEARTBEAT);
  OK(ACL(aclrtSetDevice)(0));
  HcclResult state = HCCL_SUCCESS;
  OK(ACL(HcclGetCommAsyncError)(ranks.comm(0), &state));
  CHECK_EQ(state, HCCL_E_REMOTE);
  ACL(emu_clear_faults)();
  OK(ACL(aclrtResetDevice)(0));
  ranks.close();
  CLEAN();
}

TEST("collectives inside graphs replay on every rank") {
  Devices devices;
  Ranks ranks(2);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    Buffer x(std::vector<float>{1.0f + static_cast<float>(r)});
    OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    OK(ACL(aclrtSynchronizeStream)(s));
    aclmdlRI graph = nullptr;
    OK(ACL(aclmdlRICaptureBegin)(s, ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL));
    OK(ACL(HcclAllReduce)(x.at, x.at, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, s));
    OK(ACL(aclmdlRICaptureEnd)(s, &graph));
    for (int i = 0; i < 3; ++i) OK(ACL(aclmdlRIExecuteAsync)(graph, s));
    OK(ACL(aclrtSynchronizeStream)(s));
    CHECK_EQ(x.read<float>()[0], 24.0f);
    OK(ACL(aclmdlRIDestroy)(graph));
  });
  ranks.close();
  CLEAN();
}

TEST("a matrix product summed over the ranks") {
  Devices devices;
  Ranks ranks(2);
  ranks.run([](int r, HcclComm comm, aclrtStream s) {
    ACL(aclrtSetDeviceSatMode)(ACL_RT_OVERFLOW_MODE_INFNAN);
    Tensor x({1, 16}, ACL_BF16, std::vector<uint16_t>(16, to_bf16(1))),
        w({16, 16}, ACL_BF16, std::vector<uint16_t>(256, to_bf16(1.0f + static_cast<float>(r))));
    Tensor y = Tensor::empty({1, 16}, ACL_BF16, 2);
    char name[128];
    OK(ACL(HcclGetCommName)(comm, name));
    OK(RUN(aclnnMatmulAllReduceV2, s, x, w, nullptr, nullptr, name, "sum", int64_t{0}, int64_t{1}, y));
    CHECK_EQ(from_bf16(y.buffer.read<uint16_t>()[0]), 48.0f);
  });
  ranks.close();
  CLEAN();
}

TEST("error texts") {
  CHECK(std::string(ACL(HcclGetErrorString)(HCCL_E_TIMEOUT)) == "timeout");
  CHECK(std::string(ACL(HcclGetErrorString)(HCCL_E_OOM)) == "out of memory");
  CHECK(std::string(ACL(HcclGetErrorString)(static_cast<HcclResult>(1041))) == "unknown error");
}

HARNESS_MAIN
