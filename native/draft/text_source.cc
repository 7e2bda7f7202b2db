#include "draft/text_source.h"

#include <algorithm>

#include "tensor/check.h"

namespace agentinfer {

TextSource::TextSource(Builder* builder) : builder_(builder) {}

void TextSource::append(std::span<const int32_t> tokens) {
  sequence_.insert(sequence_.end(), tokens.begin(), tokens.end());
  enqueue(tokens);
}

void TextSource::append_documents(std::span<const int32_t> tokens) {
  enqueue(std::array{kPart});
  enqueue(tokens);
  enqueue(std::array{kPart});
}

size_t TextSource::sync(std::span<const int32_t> tokens) {
  const size_t shorter = std::min(tokens.size(), sequence_.size());
  const auto differ =
      std::mismatch(sequence_.begin(), sequence_.begin() + static_cast<ptrdiff_t>(shorter), tokens.begin());
  const auto common = static_cast<size_t>(differ.first - sequence_.begin());
  if (common == sequence_.size()) {
    append(tokens.subspan(common));
    return common;
  }

  const size_t begin = common - std::min(common, kOverlap);
  std::vector<int32_t> items{common == 0 ? kFresh : kPart};
  items.insert(items.end(), tokens.begin() + static_cast<ptrdiff_t>(begin), tokens.end());
  sequence_.assign(tokens.begin(), tokens.end());
  enqueue(items);
  return common;
}

// `items`: tokens and marks.
void TextSource::enqueue(std::span<const int32_t> items) {
  if (items.empty()) return;
  const size_t total = appended() + items.size();
  if (total > SuffixAutomaton::kMaxText)
    fail(ErrorCode::kInvalidArgument, "text source: expected at most ", SuffixAutomaton::kMaxText,
         " tokens, got ", total);
  appended_.store(total, std::memory_order_release);

  const std::lock_guard lock(queue_mutex_);
  if (!building_ && (!builder_ || items.size() <= kInline)) return write(items);
  try {
    queue_.insert(queue_.end(), items.begin(), items.end());
    if (!building_) builder_->post([self = shared_from_this()] { self->build(); });
    building_ = true;
  } catch (...) {
    give_up();
    throw;
  }
}

void TextSource::give_up() {
  const std::lock_guard lock(mutex_);
  failed_ = true;
}

bool TextSource::failed() const {
  const std::shared_lock lock(mutex_);
  return failed_;
}

void TextSource::build() {
  std::vector<int32_t> items;
  while (true) {
    items.clear();
    {
      const std::lock_guard lock(queue_mutex_);
      building_ = !queue_.empty();
      if (!building_) return;
      items.swap(queue_);
    }
    try {
      write(items);
    } catch (...) {
      const std::lock_guard lock(queue_mutex_);
      building_ = false;
      queue_.clear();
      throw;
    }
  }
}

// One thread at a time: under queue_mutex_ while not building_, else the builder.
void TextSource::write(std::span<const int32_t> items) {
  while (!items.empty()) {
    const std::span<const int32_t> slice = items.first(std::min(items.size(), kSlice));
    items = items.subspan(slice.size());
    const std::lock_guard lock(mutex_);
    if (failed_) return;
    failed_ = true;  // unless the slice gets done
    for (const int32_t item : slice) {
      if (item >= 0) {
        automaton_.append(item);
        continue;
      }
      automaton_.begin_document();
      if (item == kFresh) own_begin_ = automaton_.document_begin();
    }
    written_ += slice.size();
    failed_ = false;
  }
}

TextSource::Reader TextSource::describe(std::shared_lock<std::shared_mutex> lock) const {
  if (!lock.owns_lock() || failed_) return {};
  Reader reader;
  reader.lock_ = std::move(lock);
  reader.automaton_ = &automaton_;
  reader.own_begin_ = own_begin_;
  reader.complete_ = written_ == appended_.load(std::memory_order_acquire);
  return reader;
}

TextSource::Reader TextSource::try_read() const {
  return describe(std::shared_lock(mutex_, std::try_to_lock));
}
TextSource::Reader TextSource::read() const {
  return describe(std::shared_lock(mutex_));
}

void TextSource::settle() {
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  failed_ = true;
  automaton_.settle();
  failed_ = false;
}

size_t TextSource::bytes() const {
  const std::shared_lock lock(mutex_);
  return automaton_.bytes();
}

}  // namespace agentinfer
