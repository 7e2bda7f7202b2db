#include "draft/query_index.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace agentinfer {

namespace {

constexpr double kSaturation = 1.2;  // BM25's k1 and b, as usual
constexpr double kLengthShare = 0.75;

std::vector<float> unit(std::span<const float> vector) {
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * static_cast<double>(x);
  if (!std::isfinite(squares))
    fail(ErrorCode::kInvalidArgument, "query vector: expected finite numbers, got ", squares);
  if (squares == 0) return {};
  std::vector<float> out(vector.begin(), vector.end());
  for (float& x : out) x = static_cast<float>(static_cast<double>(x) / std::sqrt(squares));
  return out;
}

// Distinct terms in rising order with their counts.
std::vector<std::pair<uint64_t, uint32_t>> counted(std::vector<uint64_t> terms) {
  std::sort(terms.begin(), terms.end());
  std::vector<std::pair<uint64_t, uint32_t>> out;
  for (const uint64_t term : terms) {
    if (out.empty() || out.back().first != term) out.push_back({term, 0});
    ++out.back().second;
  }
  return out;
}

}  // namespace

void QueryIndex::require_fits(std::span<const float> vector) const {
  if (dimensions_ != 0 && !vector.empty() && vector.size() != dimensions_)
    fail(ErrorCode::kInvalidArgument, "query vector: expected ", dimensions_, " numbers, got ",
         vector.size());
  static_cast<void>(unit(vector));
}

void QueryIndex::put(uint32_t id, std::string_view query, std::span<const float> vector) {
  require_fits(vector);
  Entry entry{{}, unit(vector), 0};
  remove(id);
  if (!entry.vector.empty()) {
    dimensions_ = vector.size();
    ++vectors_;
  }
  const std::vector<uint64_t> terms = query_terms(query);
  entry.length = static_cast<uint32_t>(terms.size());
  total_length_ += terms.size();
  for (const auto& [term, occurrences] : counted(terms)) {
    entry.terms.push_back(term);
    postings_[term].push_back({id, occurrences});
  }
  entries_.emplace(id, std::move(entry));
}

void QueryIndex::remove(uint32_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  for (const uint64_t term : found->second.terms) {
    const auto postings = postings_.find(term);
    std::erase_if(postings->second, [&](const Posting& posting) { return posting.id == id; });
    if (postings->second.empty()) postings_.erase(postings);
  }
  total_length_ -= found->second.length;
  if (!found->second.vector.empty() && --vectors_ == 0) dimensions_ = 0;
  entries_.erase(found);
}

size_t QueryIndex::bytes(uint32_t id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return 0;
  // A term: its copy in the entry, a posting, and a share of the map's node.
  return sizeof(Entry) + found->second.terms.size() * 40 + found->second.vector.size() * sizeof(float);
}

double QueryIndex::inverse_frequency(size_t documents) const {
  const auto all = static_cast<double>(entries_.size()), with = static_cast<double>(documents);
  return std::log(1 + (all - with + 0.5) / (with + 0.5));
}

double QueryIndex::weight(uint32_t occurrences, double length) const {
  const double average =
      std::max(1.0, static_cast<double>(total_length_) / static_cast<double>(entries_.size()));
  return occurrences * (kSaturation + 1) /
         (occurrences + kSaturation * (1 - kLengthShare + kLengthShare * length / average));
}

void QueryIndex::score_sparse(std::string_view query, std::unordered_map<uint32_t, double>& scores) const {
  const std::vector<uint64_t> terms = query_terms(query);
  double identical = 0;  // the score of a session with this very query
  for (const auto& [term, repeated] : counted(terms)) {
    const auto postings = postings_.find(term);
    const double frequency =
        repeated * inverse_frequency(postings == postings_.end() ? 0 : postings->second.size());
    identical += frequency * weight(repeated, static_cast<double>(terms.size()));
    if (postings == postings_.end()) continue;
    for (const Posting& posting : postings->second)
      scores[posting.id] += frequency * weight(posting.occurrences, entries_.at(posting.id).length);
  }
  for (auto& [id, score] : scores) score = std::min(1.0, score / identical);
}

void QueryIndex::score_dense(std::span<const float> vector,
                             std::unordered_map<uint32_t, double>& scores) const {
  if (dimensions_ == 0) return;
  if (vector.size() != dimensions_)
    fail(ErrorCode::kInvalidArgument, "query vector: expected ", dimensions_, " numbers, got ",
         vector.size());
  const std::vector<float> wanted = unit(vector);
  if (wanted.empty()) return;
  for (const auto& [id, entry] : entries_) {
    if (entry.vector.empty()) continue;
    double cosine = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      cosine += static_cast<double>(wanted[i]) * static_cast<double>(entry.vector[i]);
    double& score = scores[id];
    score = (score + std::clamp(cosine, 0.0, 1.0)) / 2;
  }
}

std::vector<QueryIndex::Hit> QueryIndex::search(std::string_view query, std::span<const float> vector,
                                                size_t count, double min_similarity) const {
  std::unordered_map<uint32_t, double> scores;
  score_sparse(query, scores);
  if (!vector.empty()) score_dense(vector, scores);
  std::vector<Hit> hits;
  for (const auto& [id, score] : scores)
    if (score > 0 && score >= min_similarity) hits.push_back({id, score});
  const auto better = [](const Hit& a, const Hit& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity : a.id < b.id;
  };
  count = std::min(count, hits.size());
  std::partial_sort(hits.begin(), hits.begin() + static_cast<ptrdiff_t>(count), hits.end(), better);
  hits.resize(count);
  return hits;
}

}  // namespace agentinfer
