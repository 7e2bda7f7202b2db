#include "draft/role_history.h"

#include <utility>

namespace agentinfer {

RoleHistory::RoleHistory(size_t max_tokens)
    : max_tokens_(max_tokens), text_(std::make_shared<TextSource>(nullptr)) {}

std::shared_ptr<const TextSource> RoleHistory::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

void RoleHistory::append(std::vector<int32_t> tokens) {
  if (tokens.size() > max_tokens_)
    tokens.erase(tokens.begin(), tokens.end() - static_cast<ptrdiff_t>(max_tokens_));
  if (tokens.empty()) return;
  tokens_ += tokens.size();
  documents_.push_back(std::move(tokens));
  if (tokens_ <= max_tokens_) return text_->append_documents(documents_.back());

  while (documents_.size() > 1 && tokens_ > max_tokens_ / 2) {
    tokens_ -= documents_.front().size();
    documents_.pop_front();
  }
  auto rebuilt = std::make_shared<TextSource>(nullptr);
  for (const std::vector<int32_t>& document : documents_) rebuilt->append_documents(document);
  const std::lock_guard lock(mutex_);
  text_ = std::move(rebuilt);
}

}  // namespace agentinfer
