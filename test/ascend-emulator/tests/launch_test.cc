// Phases, executors and their reuse, workspace, meta objects, launch accounting.

#include "harness.h"

namespace {

// out = x * 2 through aclnnMuls, in steps.
struct Doubling {
  Doubling()
      : x({8}, ACL_FLOAT, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}),
        y(Tensor::empty({8}, ACL_FLOAT, 4)),
        two(scalar(2)) {}
  ~Doubling() { ACL(aclDestroyScalar)(two); }
  int phase1() { return ACL(aclnnMulsGetWorkspaceSize)(x, two, y, &size, &executor); }
  int phase2(aclrtStream s) { return ACL(aclnnMuls)(nullptr, size, executor, s); }
  Tensor x, y;
  aclScalar* two;
  uint64_t size = 99;
  aclOpExecutor* executor = nullptr;
};

// An operator with a workspace.
struct Norm {
  Norm()
      : x({4, 64}, ACL_FLOAT, std::vector<float>(256, 1.0f)),
        g({64}, ACL_FLOAT, std::vector<float>(64, 1.0f)),
        y(Tensor::empty({4, 64}, ACL_FLOAT, 4)),
        r(Tensor::empty({4, 1}, ACL_FLOAT, 4)) {}
  int phase1() { return ACL(aclnnRmsNormGetWorkspaceSize)(x, g, 1e-5, y, r, &size, &executor); }
  Tensor x, g, y, r;
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
};

}  // namespace

TEST("an executor is consumed by phase 2") {
  Bound d;
  Doubling op;
  OK(op.phase1());
  CHECK_EQ(op.size, 0);
  OK(op.phase2(d.stream));
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  REFUSED(aclDestroyAclOpExecutor, ACLNN_ERR_INNER, op.executor);
  d.sync();
  CHECK_EQ(op.y.buffer.read<float>()[7], 16.0f);
  CLEAN();
}

TEST("an unused executor is freed by hand; another operator's is refused") {
  Bound d;
  Doubling op;
  EmuLive before, after;
  ACL(emu_live)(&before);
  OK(op.phase1());
  REFUSED(aclnnAdd, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  REFUSED(aclnnAdd, ACLNN_ERR_PARAM_NULLPTR, nullptr, 0, nullptr, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  REFUSED(aclDestroyAclOpExecutor, ACLNN_ERR_INNER_NULLPTR, nullptr);
  ACL(emu_live)(&after);
  CHECK_EQ(before.executors, after.executors);
  CLEAN();
}

TEST("a repeatable executor runs again with new addresses") {
  Bound d;
  Doubling op;
  OK(op.phase1());
  REFUSED(aclSetInputTensorAddr, ACLNN_ERR_INNER, op.executor, 0, op.x.t, op.x.buffer.at);
  OK(ACL(aclSetAclOpExecutorRepeatable)(op.executor));
  OK(op.phase2(d.stream));
  Buffer other(std::vector<float>(8, 5)), to(32);
  OK(ACL(aclSetInputTensorAddr)(op.executor, 0, op.x, other.at));
  OK(ACL(aclSetOutputTensorAddr)(op.executor, 0, op.y, to.at));
  OK(op.phase2(d.stream));
  d.sync();
  CHECK_EQ(op.y.buffer.read<float>()[1], 4.0f);
  CHECK_EQ(to.read<float>()[1], 10.0f);
  OK(ACL(aclSetTensorAddr)(op.executor, 1, op.y, op.y.buffer.at));  // inputs then outputs
  OK(op.phase2(d.stream));
  d.sync();
  CHECK_EQ(op.y.buffer.read<float>()[1], 10.0f);
  REFUSED(aclSetInputTensorAddr, ACLNN_ERR_PARAM_INVALID, op.executor, 0, op.y.t,
          other.at);  // another object
  REFUSED(aclSetInputTensorAddr, ACLNN_ERR_PARAM_INVALID, op.executor, 7, op.x.t, other.at);  // no such input
  REFUSED(aclSetInputTensorAddr, ACLNN_ERR_PARAM_INVALID, op.executor, 0, op.x.t,
          static_cast<char*>(other.at) + 4);
  // Another executor's update moved the object but not this executor.
  OK(ACL(aclSetRawTensorAddr)(op.x, op.x.buffer.at));
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  CLEAN();
}

TEST("in-place operands move as one") {
  Bound d;
  aclScalar* one = scalar(1);
  Tensor x({4}, ACL_FLOAT, std::vector<float>{1, 2, 3, 4}), y({4}, ACL_FLOAT, std::vector<float>{1, 1, 1, 1});
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  OK(ACL(aclnnInplaceAddGetWorkspaceSize)(x, y, one, &size, &executor));
  OK(ACL(aclSetAclOpExecutorRepeatable)(executor));
  Buffer other(std::vector<float>{10, 20, 30, 40});
  OK(ACL(aclSetInputTensorAddr)(executor, 0, x, other.at));
  OK(ACL(aclnnInplaceAdd)(nullptr, 0, executor, d.stream));
  d.sync();
  CHECK_EQ(other.read<float>()[3], 41.0f);
  CHECK_EQ(x.buffer.read<float>()[3], 4.0f);
  OK(ACL(aclDestroyAclOpExecutor)(executor));
  OK(ACL(aclDestroyScalar)(one));
  CLEAN();
}

TEST("tensors must live until phase 2, and need not live longer") {
  Bound d;
  Doubling op;
  OK(op.phase1());
  OK(ACL(aclDestroyTensor)(op.x.t));
  op.x.t = nullptr;
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  Doubling good;
  OK(good.phase1());
  ACL(emu_hold_stream)(d.stream);
  OK(good.phase2(d.stream));
  OK(ACL(aclDestroyTensor)(good.x.t));
  good.x.t = nullptr;
  ACL(emu_release_stream)(d.stream);
  d.sync();
  CHECK_EQ(good.y.buffer.read<float>()[0], 2.0f);
  CLEAN();
}

TEST("workspace: size, presence, alignment, freed, overlapping an operand") {
  Bound d;
  Norm op;
  Buffer big(4096), small(64);
  OK(op.phase1());
  CHECK(op.size > 0);
  REFUSED(aclnnRmsNorm, ACLNN_ERR_PARAM_INVALID, big.at, op.size - 1, op.executor, d.stream);
  REFUSED(aclnnRmsNorm, ACLNN_ERR_PARAM_INVALID, static_cast<char*>(big.at) + 8, op.size, op.executor,
          d.stream);
  REFUSED(aclnnRmsNorm, ACLNN_ERR_PARAM_INVALID, op.x.buffer.at, op.size, op.executor, d.stream);
  std::vector<char> host(op.size + 64);
  REFUSED(aclnnRmsNorm, ACLNN_ERR_PARAM_INVALID,
          reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(host.data()) + 31) / 32 * 32), op.size,
          op.executor, d.stream);
  OK(ACL(aclnnRmsNorm)(big.at, op.size, op.executor, d.stream));
  d.sync();
  OK(op.phase1());
  REFUSED(aclnnRmsNorm, ACLNN_ERR_PARAM_NULLPTR, nullptr, op.size, op.executor, d.stream);
  REFUSED(aclDestroyAclOpExecutor, ACLNN_ERR_INNER, op.executor);  // that failure consumed it
  CLEAN();
}

TEST("the workspace holds nothing afterwards") {
  Bound d;
  Norm op;
  OK(op.phase1());
  Buffer work(std::vector<char>(op.size, 'w'));
  OK(ACL(aclnnRmsNorm)(work.at, op.size, op.executor, d.stream));
  d.sync();
  for (const char c : work.read<char>()) CHECK_EQ(c, static_cast<char>(0xff));
  CLEAN();
}

TEST("workspace freed while the kernel is queued") {
  Bound d(6);
  Norm op;
  OK(op.phase1());
  void* work = nullptr;
  OK(ACL(aclrtMalloc)(&work, op.size, ACL_MEM_MALLOC_HUGE_FIRST));
  ACL(emu_hold_stream)(d.stream);
  OK(ACL(aclnnRmsNorm)(work, op.size, op.executor, d.stream));
  OK(ACL(aclrtFree)(work));
  ACL(emu_release_stream)(d.stream);
  CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_VECTOR_CORE_EXCEPTION);
  CHECK(violation(0).find("task aclnnRmsNorm(") == 0);
  ACL(emu_clear_violations)();
}

TEST("operands: foreign device, freed, too long, no tail") {
  Bound d;
  Doubling op;
  {
    Bound other(1);
    Buffer theirs(32);
    OK(ACL(aclrtSetDevice)(0));
    OK(ACL(aclSetRawTensorAddr)(op.x, theirs.at));
    OK(op.phase1());
    REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
    OK(ACL(aclDestroyAclOpExecutor)(op.executor));
    OK(ACL(aclrtResetDevice)(0));
    OK(ACL(aclrtSetDevice)(1));
  }
  OK(ACL(aclrtSetDevice)(0));
  OK(ACL(aclrtResetDevice)(0));
  OK(ACL(aclrtSetDevice)(0));
  void* gone = nullptr;
  OK(ACL(aclrtMalloc)(&gone, 32, ACL_MEM_MALLOC_HUGE_FIRST));
  OK(ACL(aclrtFree)(gone));
  OK(ACL(aclSetRawTensorAddr)(op.x, gone));
  OK(op.phase1());
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  Buffer brief(28);
  OK(ACL(aclSetRawTensorAddr)(op.x, brief.at));
  OK(op.phase1());
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  void* bare = nullptr;  // 32 bytes and nothing behind them
  OK(ACL(aclrtMallocAlign32)(&bare, 32, ACL_MEM_MALLOC_HUGE_FIRST));
  OK(ACL(aclSetRawTensorAddr)(op.x, bare));
  OK(op.phase1());
  REFUSED(aclnnMuls, ACLNN_ERR_PARAM_INVALID, nullptr, 0, op.executor, d.stream);
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  OK(ACL(aclrtFree)(bare));
  OK(ACL(aclrtResetDevice)(0));
  CLEAN();
}

TEST("meta objects: lists own their tensors; double destruction; views inside their storage") {
  Bound d;
  Buffer memory(64);
  aclTensor* t = make_tensor({4, 4}, ACL_FLOAT, memory.at);
  aclTensorList* list = ACL(aclCreateTensorList)(&t, 1);
  OK(ACL(aclDestroyTensorList)(list));
  REFUSED(aclDestroyTensor, ACLNN_ERR_PARAM_INVALID, t);
  OK(ACL(aclDestroyTensor)(nullptr));
  CHECK(make_tensor({4, 5}, ACL_FLOAT, memory.at, {}, 0, ACL_FORMAT_ND, {16}) == nullptr);
  CHECK(violation(0).find("aclCreateTensor(") == 0);
  ACL(emu_clear_violations)();
  const int64_t dims[] = {2, 3};
  CHECK(ACL(aclCreateTensor)(nullptr, 2, ACL_FLOAT, nullptr, 0, ACL_FORMAT_ND, dims, 2, memory.at) ==
        nullptr);
  ACL(emu_clear_violations)();
  t = make_tensor({2, 3}, ACL_FLOAT, memory.at);
  int64_t *shape = nullptr, *strides = nullptr;
  uint64_t rank = 0;
  OK(ACL(aclGetViewShape)(t, &shape, &rank));
  CHECK(rank == 2 && shape[1] == 3);
  OK(ACL(aclGetViewStrides)(t, &strides, &rank));
  CHECK_EQ(strides[0], 3);
  delete[] shape;
  delete[] strides;
  REFUSED(aclGetDataType, ACLNN_ERR_PARAM_NULLPTR, t, nullptr);
  OK(ACL(aclDestroyTensor)(t));
  CLEAN();
}

TEST("kernels before the numeric mode was chosen are reported") {
  OK(ACL(aclrtSetDevice)(7));
  aclrtStream s = nullptr;
  OK(ACL(aclrtCreateStream)(&s));
  ACL(emu_clear_violations)();
  {
    Doubling op;
    OK(op.phase1());
    OK(op.phase2(s));
    CHECK(violation(0).find("aclrtSetDeviceSatMode") != std::string::npos);
    OK(ACL(aclrtSynchronizeStream)(s));
  }
  ACL(emu_clear_violations)();
  OK(ACL(aclrtDestroyStream)(s));
  OK(ACL(aclrtResetDevice)(7));
}

TEST("launches, phases, copies and bytes are counted") {
  Bound d;
  Doubling op;
  void* pinned = nullptr;
  OK(ACL(aclrtMallocHost)(&pinned, 32));
  ACL(emu_reset_counters)();
  OK(op.phase1());
  OK(ACL(aclSetAclOpExecutorRepeatable)(op.executor));
  for (int i = 0; i < 3; ++i) OK(op.phase2(d.stream));
  OK(ACL(aclrtMemcpyAsync)(pinned, 32, op.y.buffer.at, 32, ACL_MEMCPY_DEVICE_TO_HOST, d.stream));
  d.sync();
  EmuCounters c;
  ACL(emu_counters)(&c);
  CHECK_EQ(c.phase1, 1);
  CHECK_EQ(c.phase2, 3);
  CHECK_EQ(c.launches, 3);
  CHECK_EQ(c.d2h_copies, 1);
  CHECK_EQ(c.d2h_bytes, 32);
  CHECK_EQ(c.stream_syncs, 1);
  CHECK_EQ(c.kernel_read_bytes, 96);
  CHECK_EQ(c.kernel_write_bytes, 96);
  CHECK_EQ(ACL(emu_calls)("aclnnMuls"), 3);
  uint64_t runs = 0, bytes = 0, flops = 0;
  ACL(emu_op_usage)("aclnnMuls", &runs, &bytes, &flops);
  CHECK_EQ(runs, 3);
  CHECK_EQ(bytes, 192);
  char answer[4096];
  ACL(emu_command)("counters", answer, sizeof(answer));
  CHECK(std::strstr(answer, "\"launches\": 3"));
  OK(ACL(aclDestroyAclOpExecutor)(op.executor));
  OK(ACL(aclrtFreeHost)(pinned));
  CLEAN();
}

HARNESS_MAIN
