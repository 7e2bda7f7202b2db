#include "parallel/npu_ranks.h"

#include <utility>

#include "backend/ascend/cann.h"
#include "backend/ascend/status.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

// One rank's end of a communicator. Collectives go on the backend's stream, between its operators.
class HcclGroup final : public Group {
 public:
  HcclGroup(int rank, int size, acl::HcclComm communicator, AscendBackend& backend, Rendezvous& rendezvous)
      : rank_(rank),
        size_(size),
        communicator_(communicator),
        backend_(backend),
        rendezvous_(rendezvous),
        hccl_(hccl()) {
    // While this rank waits for its device: has another failed, or the communicator?
    backend.device().set_on_wait([this] {
      rendezvous_.check();
      acl::HcclResult error = 0;
      check_hccl(backend_.device().rt(), hccl_.HcclGetCommAsyncError(communicator_, &error),
                 "HcclGetCommAsyncError");
      check_hccl(backend_.device().rt(), error, "a collective");
    });
  }
  ~HcclGroup() override {
    AscendDevice& device = backend_.device();
    device.set_on_wait({});
    device.settle();
    hccl_.HcclCommDestroy(communicator_);
    recent_message(device.rt());
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void check() const override { rendezvous_.check(); }

  void all_reduce(Backend&, Activation& x, int rows) override {
    const acl::Rows values = backend_.rows(x, rows);
    backend_.enqueue([this, values](acl::aclrtStream stream) {
      check_hccl(backend_.device().rt(),
                 hccl_.HcclAllReduce(values.at, values.at, values.count, acl::kHcclBf16, acl::kHcclSum,
                                     communicator_, stream),
                 "HcclAllReduce");
    });
  }

  void all_gather(Backend&, const Activation& x, int rows, Activation& out) override {
    const acl::Rows values = backend_.rows(const_cast<Activation&>(x), rows);
    void* const parts = backend_.gather_room(values.count * static_cast<size_t>(size_));
    backend_.enqueue([this, values, parts](acl::aclrtStream stream) {
      check_hccl(backend_.device().rt(),
                 hccl_.HcclAllGather(values.at, parts, values.count, acl::kHcclBf16, communicator_, stream),
                 "HcclAllGather");
    });
    backend_.interleave(parts, size_, rows, x.cols, out);
  }

 private:
  const int rank_, size_;
  const acl::HcclComm communicator_;
  AscendBackend& backend_;
  Rendezvous& rendezvous_;
  const acl::HcclFunctions& hccl_;
};

}  // namespace

NpuRanks::NpuRanks(std::vector<int> devices, int timeout_ms, bool graphs, bool nz)
    : devices_(std::move(devices)),
      timeout_ms_(timeout_ms),
      graphs_(graphs),
      nz_(nz),
      rendezvous_(size(), std::chrono::milliseconds(timeout_ms)),
      communicators_(devices_.size()) {}

NpuRanks::~NpuRanks() = default;

std::unique_ptr<Backend> NpuRanks::open(int rank) {
  auto backend = make_ascend_backend({.device = devices_[static_cast<size_t>(rank)],
                                      .timeout_ms = timeout_ms_,
                                      .graphs = graphs_,
                                      .nz = nz_});
  if (rank == 0) soc_ = backend->soc();
  return backend;
}

std::unique_ptr<Group> NpuRanks::join(int rank, Backend& backend) {
  if (size() == 1) return std::make_unique<SoloGroup>();
  auto& npu = static_cast<AscendBackend&>(backend);
  rendezvous_.meet(rank, {.call = "open"});
  if (rank == 0) {
    std::vector<int32_t> ids(devices_.begin(), devices_.end());
    check_hccl(npu.device().rt(),
               hccl().HcclCommInitAll(static_cast<uint32_t>(ids.size()), ids.data(), communicators_.data()),
               "HcclCommInitAll");
  }
  rendezvous_.meet(rank, {.call = "communicators"});
  auto group =
      std::make_unique<HcclGroup>(rank, size(), communicators_[static_cast<size_t>(rank)], npu, rendezvous_);
  const auto part = npu.make_activation(1, 32, Feeds::kOther);
  const auto whole = npu.make_activation(1, 32 * size(), Feeds::kOther);
  npu.write_rows(*part, std::vector<float>(32, 1.0f), 1);
  group->all_reduce(npu, *part, 1);
  group->all_gather(npu, *part, 1, *whole);
  const auto sum = npu.logits(*whole, 0);
  for (const float value : sum)
    if (value != static_cast<float>(size()))
      fail(ErrorCode::kDevice, "rank ", rank, ": a sum of ones over ", size(), " devices came to ", value);
  return group;
}

}  // namespace agentinfer
