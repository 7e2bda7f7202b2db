#include "kv/eviction_queue.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "tensor/check.h"

namespace agentinfer {
namespace {
size_t index(int32_t value) {
  return static_cast<size_t>(value);
}
}  // namespace

EvictionQueue::EvictionQueue(int capacity) : clock_(-std::numeric_limits<double>::infinity()) {
  keys_.resize(index(capacity));
  where_.resize(index(capacity), Where::kOut);
  for (Heap* heap : {&expired_, &live_, &by_expiry_}) {
    heap->items.reserve(index(capacity));
    heap->place.resize(index(capacity), -1);
  }
}

bool EvictionQueue::use_less(int32_t a, int32_t b) const {
  const RetentionKey &left = key(a), &right = key(b);
  return std::tuple(left.retention.retention_class, left.last_use, a) <
         std::tuple(right.retention.retention_class, right.last_use, b);
}

bool EvictionQueue::expiry_less(int32_t a, int32_t b) const {
  return std::tuple(key(a).retention.expiry, a) < std::tuple(key(b).retention.expiry, b);
}

// Moves the item from its present place up or down to where it belongs.
template <typename Less>
void EvictionQueue::sift(Heap& heap, int32_t item, Less less) {
  const auto put = [&](size_t at, int32_t moved) {
    heap.items[at] = moved;
    heap.place[index(moved)] = static_cast<int32_t>(at);
  };
  size_t at = index(heap.place[index(item)]);
  for (; at > 0 && less(item, heap.items[(at - 1) / 2]); at = (at - 1) / 2) put(at, heap.items[(at - 1) / 2]);
  for (size_t child = 2 * at + 1; child < heap.items.size(); child = 2 * at + 1) {
    if (child + 1 < heap.items.size() && less(heap.items[child + 1], heap.items[child])) ++child;
    if (!less(heap.items[child], item)) break;
    put(at, heap.items[child]);
    at = child;
  }
  put(at, item);
}

template <typename Less>
void EvictionQueue::push(Heap& heap, int32_t item, Less less) {
  heap.place[index(item)] = static_cast<int32_t>(heap.items.size());
  heap.items.push_back(item);
  sift(heap, item, less);
}

template <typename Less>
void EvictionQueue::erase(Heap& heap, int32_t item, Less less) {
  const int32_t at = heap.place[index(item)], last = heap.items.back();
  heap.items.pop_back();
  heap.place[index(item)] = -1;
  if (last == item) return;
  heap.items[index(at)] = last;
  heap.place[index(last)] = at;
  sift(heap, last, less);
}

void EvictionQueue::remove(int32_t item) {
  const auto by_use = [this](int32_t a, int32_t b) { return use_less(a, b); };
  const auto by_expiry = [this](int32_t a, int32_t b) { return expiry_less(a, b); };
  Where& where = where_[index(item)];
  if (where == Where::kOut) return;
  erase(where == Where::kLive ? live_ : expired_, item, by_use);
  if (by_expiry_.place[index(item)] >= 0) erase(by_expiry_, item, by_expiry);
  where = Where::kOut;
}

void EvictionQueue::set(int32_t item, const RetentionKey& new_key) {
  const auto by_use = [this](int32_t a, int32_t b) { return use_less(a, b); };
  const auto by_expiry = [this](int32_t a, int32_t b) { return expiry_less(a, b); };
  if (contains(item) && key(item).last_use == new_key.last_use && key(item).retention == new_key.retention)
    return;
  remove(item);
  keys_[index(item)] = new_key;
  const bool expired = new_key.retention.expiry <= clock_;
  where_[index(item)] = expired ? Where::kExpired : Where::kLive;
  push(expired ? expired_ : live_, item, by_use);
  if (!expired && new_key.retention.expiry != kNeverExpires) push(by_expiry_, item, by_expiry);
}

void EvictionQueue::advance(double now) {
  const auto by_use = [this](int32_t a, int32_t b) { return use_less(a, b); };
  const auto by_expiry = [this](int32_t a, int32_t b) { return expiry_less(a, b); };
  clock_ = std::max(clock_, now);
  while (!by_expiry_.items.empty() && key(by_expiry_.items[0]).retention.expiry <= clock_) {
    const int32_t item = by_expiry_.items[0];
    erase(by_expiry_, item, by_expiry);
    erase(live_, item, by_use);
    push(expired_, item, by_use);
    where_[index(item)] = Where::kExpired;
  }
}

int32_t EvictionQueue::top(double now) {
  advance(now);
  if (expired_.items.empty()) return live_.items.empty() ? -1 : live_.items[0];
  const int32_t expired = expired_.items[0];
  if (live_.items.empty()) return expired;
  const int32_t live = live_.items[0];
  return key(live).retention.retention_class < key(expired).retention.retention_class ? live : expired;
}

bool EvictionQueue::before(int32_t a_item, const RetentionKey& a, int32_t b_item, const RetentionKey& b,
                           double now) const {
  const double clock = std::max(clock_, now);
  const auto rank = [clock](const RetentionKey& k, int32_t item) {
    return std::tuple(k.retention.retention_class, k.retention.expiry > clock, k.last_use, item);
  };
  return rank(a, a_item) < rank(b, b_item);
}

void EvictionQueue::check() const {
  const auto ordered = [](const Heap& heap, auto less) {
    for (size_t i = 0; i < heap.items.size(); ++i) {
      ensure(heap.place[index(heap.items[i])] == static_cast<int32_t>(i), "eviction queue: item ",
             heap.items[i], " misplaced");
      ensure(i == 0 || !less(heap.items[i], heap.items[(i - 1) / 2]), "eviction queue: item ", heap.items[i],
             " out of order");
    }
  };
  ordered(expired_, [this](int32_t a, int32_t b) { return use_less(a, b); });
  ordered(live_, [this](int32_t a, int32_t b) { return use_less(a, b); });
  ordered(by_expiry_, [this](int32_t a, int32_t b) { return expiry_less(a, b); });
  size_t expiring = 0;
  for (size_t item = 0; item < where_.size(); ++item) {
    const Where where = where_[item];
    ensure((live_.place[item] >= 0) == (where == Where::kLive), "eviction queue: item ", item,
           " in the wrong heap");
    ensure((expired_.place[item] >= 0) == (where == Where::kExpired), "eviction queue: item ", item,
           " in the wrong heap");
    const bool expires = where == Where::kLive && keys_[item].retention.expiry != kNeverExpires;
    ensure((by_expiry_.place[item] >= 0) == expires, "eviction queue: item ", item, " would miss its expiry");
    expiring += expires;
  }
  ensure(expiring == by_expiry_.items.size(), "eviction queue: ", expiring, " items expire, ",
         by_expiry_.items.size(), " wait");
}

}  // namespace agentinfer
