#pragma once
// Which stored queries are like this one: BM25 over words (letters and digits, case folded) and pairs of
// adjacent CJK characters, and, where the caller supplies vectors, cosine similarity by brute force.
//
// Deterministic: equal scores are ordered by id. Thread safety: none.

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace agentinfer {

// The terms of `text` as 64-bit hashes, with repetitions, in order. Any bytes; those that are not UTF-8
// separate terms.
std::vector<uint64_t> query_terms(std::string_view text);

class QueryIndex {
 public:
  struct Hit {
    uint32_t id = 0;
    double similarity = 0;  // in (0, 1]
  };

  // Replaces what `id` had. `vector` may be empty; one index has vectors of one size (kInvalidArgument
  // otherwise).
  void put(uint32_t id, std::string_view query, std::span<const float> vector);
  // Throws what put() would for the vector.
  void require_fits(std::span<const float> vector) const;
  void remove(uint32_t id);
  size_t size() const { return entries_.size(); }
  size_t bytes(uint32_t id) const;                   // about what the entry takes; 0 if unknown
  size_t dimensions() const { return dimensions_; }  // of the vectors; 0: none yet

  // The `count` most similar, best first; those below `min_similarity` are left out. The sparse similarity is
  // the BM25 score relative to that of an identical query; with a vector on both sides it is averaged with
  // the cosine (at least 0).
  std::vector<Hit> search(std::string_view query, std::span<const float> vector, size_t count,
                          double min_similarity) const;

 private:
  struct Posting {
    uint32_t id, occurrences;
  };
  struct Entry {
    std::vector<uint64_t> terms;  // distinct
    std::vector<float> vector;    // of length 1, or empty
    uint32_t length;              // terms with repetitions
  };
  double inverse_frequency(size_t documents) const;
  double weight(uint32_t occurrences, double length) const;
  void score_sparse(std::string_view query, std::unordered_map<uint32_t, double>& scores) const;
  void score_dense(std::span<const float> vector, std::unordered_map<uint32_t, double>& scores) const;

  std::unordered_map<uint32_t, Entry> entries_;
  std::unordered_map<uint64_t, std::vector<Posting>> postings_;
  uint64_t total_length_ = 0;
  size_t dimensions_ = 0, vectors_ = 0;  // of the vectors there are, and how many
};

}  // namespace agentinfer
