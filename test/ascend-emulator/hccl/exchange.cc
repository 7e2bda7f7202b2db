// The data movement and arithmetic of collectives. Reductions go through the ranks in order; bf16 and fp16
// are rounded after each addition, as inline reduction on the links does.

#include <algorithm>
#include <cstring>

#include "control/api.h"
#include "hccl/comm.h"
#include "ops/numeric.h"

namespace emu {

size_t hccl_size(HcclDataType dtype) {
  switch (dtype) {
    case HCCL_DATA_TYPE_INT8:
    case HCCL_DATA_TYPE_UINT8:
      return 1;
    case HCCL_DATA_TYPE_INT16:
    case HCCL_DATA_TYPE_FP16:
    case HCCL_DATA_TYPE_UINT16:
    case HCCL_DATA_TYPE_BFP16:
      return 2;
    case HCCL_DATA_TYPE_INT32:
    case HCCL_DATA_TYPE_FP32:
    case HCCL_DATA_TYPE_UINT32:
      return 4;
    case HCCL_DATA_TYPE_INT64:
    case HCCL_DATA_TYPE_UINT64:
    case HCCL_DATA_TYPE_FP64:
      return 8;
    default:
      return 0;
  }
}

namespace {

template <class T>
T combine(T a, T b, HcclReduceOp op) {
  switch (op) {
    case HCCL_REDUCE_PROD:
      return static_cast<T>(a * b);
    case HCCL_REDUCE_MAX:
      return std::max(a, b);
    case HCCL_REDUCE_MIN:
      return std::min(a, b);
    default:
      return static_cast<T>(a + b);
  }
}

template <class T>
void reduce_plain(char* into, const char* from, uint64_t n, HcclReduceOp op) {
  for (uint64_t i = 0; i < n; ++i) {
    T a, b;
    std::memcpy(&a, into + i * sizeof(T), sizeof(T));
    std::memcpy(&b, from + i * sizeof(T), sizeof(T));
    a = combine(a, b, op);
    std::memcpy(into + i * sizeof(T), &a, sizeof(T));
  }
}

template <class Load, class Store>
void reduce_16(char* into, const char* from, uint64_t n, HcclReduceOp op, Load&& load, Store&& store) {
  for (uint64_t i = 0; i < n; ++i) {
    uint16_t a, b;
    std::memcpy(&a, into + i * 2, 2);
    std::memcpy(&b, from + i * 2, 2);
    a = store(combine(load(a), load(b), op));
    std::memcpy(into + i * 2, &a, 2);
  }
}

void reduce_into(char* into, const char* from, uint64_t n, HcclDataType dtype, HcclReduceOp op) {
  switch (dtype) {
    case HCCL_DATA_TYPE_BFP16:
      return reduce_16(into, from, n, op, bf16_to_float, float_to_bf16);
    case HCCL_DATA_TYPE_FP16:
      return reduce_16(into, from, n, op, half_to_float, [](float v) { return float_to_half(v); });
    case HCCL_DATA_TYPE_FP32:
      return reduce_plain<float>(into, from, n, op);
    case HCCL_DATA_TYPE_INT8:
      return reduce_plain<int8_t>(into, from, n, op);
    case HCCL_DATA_TYPE_INT16:
      return reduce_plain<int16_t>(into, from, n, op);
    case HCCL_DATA_TYPE_INT32:
      return reduce_plain<int32_t>(into, from, n, op);
    default:
      return reduce_plain<int64_t>(into, from, n, op);
  }
}

using Shares = std::vector<const Share*>;

std::vector<char> reduced(const Shares& shares, uint64_t n) {
  const Share& first = *shares[0];
  const uint64_t bytes = n * hccl_size(first.dtype);
  std::vector<char> sum(first.send, first.send + bytes);
  for (size_t r = 1; r < shares.size(); ++r)
    reduce_into(sum.data(), shares[r]->send, n, first.dtype, first.op);
  return sum;
}

void gather(const Shares& shares) {
  const uint64_t bytes = shares[0]->count * hccl_size(shares[0]->dtype);
  std::vector<char> all;
  for (const Share* s : shares) all.insert(all.end(), s->send, s->send + bytes);
  for (const Share* s : shares) std::memcpy(s->recv, all.data(), all.size());
}

void all_to_all(const Shares& shares) {
  const uint64_t bytes = shares[0]->count * hccl_size(shares[0]->dtype);
  std::vector<std::vector<char>> sent;
  for (const Share* s : shares) sent.emplace_back(s->send, s->send + bytes * shares.size());
  for (size_t to = 0; to < shares.size(); ++to)
    for (size_t from = 0; from < shares.size(); ++from)
      std::memcpy(shares[to]->recv + from * bytes, sent[from].data() + to * bytes, bytes);
}

void all_to_all_v(const Shares& shares, std::string& failed) {
  const uint64_t size = hccl_size(shares[0]->dtype);
  for (size_t from = 0; from < shares.size(); ++from)
    for (size_t to = 0; to < shares.size(); ++to) {
      const uint64_t n = shares[from]->send_counts[to];
      if (n != shares[to]->recv_counts[from]) {
        failed = text("rank ", from, " sends ", n, " elements to rank ", to, ", which expects ",
                      shares[to]->recv_counts[from]);
        return;
      }
      std::memmove(shares[to]->recv + shares[to]->recv_offsets[from] * size,
                   shares[from]->send + shares[from]->send_offsets[to] * size, n * size);
    }
}

void sum_floats(const Shares& shares) {
  std::vector<float> sum = *shares[0]->floats;
  const bool bf16 = shares[0]->dtype == HCCL_DATA_TYPE_BFP16;
  for (size_t r = 1; r < shares.size(); ++r)
    for (size_t i = 0; i < sum.size(); ++i) {
      const float v = sum[i] + (*shares[r]->floats)[i];
      sum[i] = bf16 ? round_bf16(v) : half_to_float(float_to_half(v));
    }
  for (const Share* s : shares) *s->floats = sum;
}

}  // namespace

void exchange(Meeting& meeting) {
  const Shares& shares = meeting.shares;
  const Share& first = *shares[0];
  const uint64_t bytes = first.count * hccl_size(first.dtype);
  switch (first.kind) {
    case Collective::kBarrier:
      return;
    case Collective::kAllReduce: {
      const std::vector<char> sum = reduced(shares, first.count);
      for (const Share* s : shares) std::memcpy(s->recv, sum.data(), sum.size());
      return;
    }
    case Collective::kReduce: {
      const std::vector<char> sum = reduced(shares, first.count);
      std::memcpy(shares[first.root]->recv, sum.data(), sum.size());
      return;
    }
    case Collective::kReduceScatter: {
      const std::vector<char> sum = reduced(shares, first.count * shares.size());
      for (size_t r = 0; r < shares.size(); ++r) std::memcpy(shares[r]->recv, sum.data() + r * bytes, bytes);
      return;
    }
    case Collective::kAllGather:
      return gather(shares);
    case Collective::kBroadcast:
      for (const Share* s : shares)
        if (s != shares[first.root]) std::memcpy(s->recv, shares[first.root]->send, bytes);
      return;
    case Collective::kScatter:
      for (size_t r = 0; r < shares.size(); ++r)
        std::memmove(shares[r]->recv, shares[first.root]->send + r * bytes, bytes);
      return;
    case Collective::kAllToAll:
      return all_to_all(shares);
    case Collective::kAllToAllV:
      return all_to_all_v(shares, meeting.failed);
    case Collective::kSendRecv:
      std::memcpy(shares[1]->recv, shares[0]->send, bytes);
      return;
    case Collective::kFusedSum:
      return sum_floats(shares);
  }
}

}  // namespace emu
