#include "parallel/rendezvous.h"

#include <algorithm>
#include <cstring>
#include <sstream>

namespace agentinfer {
namespace {

std::string text_of(const Rendezvous::Tag& tag) {
  std::ostringstream text;
  text << tag.call;
  if (tag.rows != 0 || tag.cols != 0) text << " of " << tag.rows << " x " << tag.cols;
  return text.str();
}

}  // namespace

bool Rendezvous::Tag::operator==(const Tag& other) const {
  return rows == other.rows && cols == other.cols && std::strcmp(call, other.call) == 0;
}

Rendezvous::Rendezvous(int size, std::chrono::milliseconds timeout)
    : size_(size), timeout_(timeout), here_(static_cast<size_t>(std::max(size, 1)), false) {
  ensure(size >= 1, "a group of ", size, " ranks");
}

void Rendezvous::meet(int rank, const Tag& tag) {
  std::unique_lock lock(mutex_);
  if (failed()) throw_cause();
  ensure(rank >= 0 && rank < size_ && !here_[static_cast<size_t>(rank)], "rank ", rank, " meets twice");
  if (arrived_ == 0) {
    tag_ = tag;
    tag_rank_ = rank;
  } else if (!(tag == tag_)) {
    fail_group("ranks went apart at meeting " + std::to_string(meeting_) + ": rank " + std::to_string(rank) +
               " came to " + text_of(tag) + ", rank " + std::to_string(tag_rank_) + " to " + text_of(tag_));
    throw_cause();
  }
  if (++arrived_ == size_) {
    arrived_ = 0;
    std::fill(here_.begin(), here_.end(), false);
    ++meeting_;
    lock.unlock();
    all_here_.notify_all();
    return;
  }
  here_[static_cast<size_t>(rank)] = true;
  wait_for_others(lock);
}

void Rendezvous::wait_for_others(std::unique_lock<std::mutex>& lock) {
  const uint64_t mine = meeting_;
  const auto over = [&] { return meeting_ != mine || failed(); };
  if (!all_here_.wait_for(lock, timeout_, over))
    fail_group(missing() + " did not come to " + text_of(tag_) + " (meeting " + std::to_string(mine) +
               ") within " + std::to_string(timeout_.count()) + " ms");
  if (meeting_ == mine)
    throw_cause();  // else this meeting took place; a failure since then is the next one's
}

void Rendezvous::abort(int rank, ErrorCode code, const std::string& message) noexcept {
  const std::lock_guard lock(mutex_);
  if (failed()) return;
  try {
    cause_ = size_ == 1 ? message : "rank " + std::to_string(rank) + ": " + message;
  } catch (const std::bad_alloc&) {
    cause_.clear();
  }
  cause_code_ = code;
  failed_.store(true, std::memory_order_release);
  all_here_.notify_all();
}

void Rendezvous::fail_group(std::string message) {
  cause_ = std::move(message);
  cause_code_ = ErrorCode::kDevice;
  failed_.store(true, std::memory_order_release);
  all_here_.notify_all();
}

void Rendezvous::check() const {
  if (!failed()) return;
  const std::lock_guard lock(mutex_);
  if (failed()) throw_cause();
}

void Rendezvous::reset() {
  const std::lock_guard lock(mutex_);
  arrived_ = 0;
  std::fill(here_.begin(), here_.end(), false);
  cause_.clear();
  failed_.store(false, std::memory_order_release);
}

void Rendezvous::throw_cause() const {
  throw Error(cause_code_, cause_);
}

// "ranks 1, 3"
std::string Rendezvous::missing() const {
  std::string list;
  int count = 0;
  for (int rank = 0; rank < size_; ++rank)
    if (!here_[static_cast<size_t>(rank)]) list += (count++ == 0 ? "" : ", ") + std::to_string(rank);
  return (count == 1 ? "rank " : "ranks ") + list;
}

}  // namespace agentinfer
