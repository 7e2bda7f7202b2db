#pragma once
// Items in the order of RetentionKey, whose "expired before unexpired" moves with time: within a class, items
// wait by expiry and change from the unexpired to the expired side when `now` passes it. Insert, change,
// remove and take are O(log items). Items are numbers in [0, capacity). All memory is taken by the
// constructor. Time must not run backwards (if it does, what has expired stays so).

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/retention.h"

namespace agentinfer {

class EvictionQueue {
 public:
  explicit EvictionQueue(int capacity);

  bool contains(int32_t item) const { return where_[static_cast<size_t>(item)] != Where::kOut; }
  void set(int32_t item, const RetentionKey& key);  // insert or change
  void remove(int32_t item);                        // no effect if not contained
  // The first to go, or -1.
  int32_t top(double now);
  // a goes before b.
  bool before(int32_t a_item, const RetentionKey& a, int32_t b_item, const RetentionKey& b, double now) const;
  const RetentionKey& key(int32_t item) const { return keys_[static_cast<size_t>(item)]; }
  int size() const { return static_cast<int>(expired_.items.size() + live_.items.size()); }
  void check() const;  // kInternal unless the heaps are in order and agree with each other

 private:
  enum class Where : uint8_t { kOut, kExpired, kLive };
  struct Heap {  // binary, smallest first, with each item's place
    std::vector<int32_t> items, place;
  };
  bool use_less(int32_t a, int32_t b) const;     // class, last use, number
  bool expiry_less(int32_t a, int32_t b) const;  // expiry, number
  template <typename Less>
  static void sift(Heap& heap, int32_t item, Less less);
  template <typename Less>
  static void push(Heap& heap, int32_t item, Less less);
  template <typename Less>
  static void erase(Heap& heap, int32_t item, Less less);
  void advance(double now);

  std::vector<RetentionKey> keys_;
  std::vector<Where> where_;
  Heap expired_, live_;  // by use_less
  Heap by_expiry_;       // the items of live_ that expire at all, by expiry_less
  double clock_;
};

}  // namespace agentinfer
