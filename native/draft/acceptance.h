#pragma once
// How likely the model is to accept the tokens of a draft, learnt online from what it emitted: a Beta count
// for each (source kind, match length bucket, evidence, position). Acceptance at a position is given that all
// before it were accepted, so the chance that a draft survives up to there is the running product
// (arXiv 2411.04975's path score with measured factors; vLLM's adaptive verification buckets the same way).
//
// Old outcomes fade: a count never weighs more than kMemory outcomes.
// Thread safety: none; the engine's thread owns it.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace agentinfer {

inline constexpr int kMaxDraftTokens = 15;  // the NPU's attention takes 16 query tokens a row in decode

// In order of preference.
enum class SourceKind : uint8_t {
  kOwn,        // the request's own context
  kSession,    // earlier turns of its session that are no longer in the context
  kSibling,    // other agents of the same run
  kRole,       // what agents with the same system prompt produced
  kRetrieved,  // stored sessions with similar queries
};
inline constexpr int kSourceKinds = 5;
std::string_view source_kind_name(SourceKind kind);  // "own", "session", "sibling", "role", "retrieved"

// What the occurrences of the match say about what follows.
enum class Evidence : uint8_t {
  kSingle,
  kUnanimous,
  kBranching
};  // one; several that agree; several that do not

struct MatchClass {
  static constexpr int kBuckets = 10;
  static constexpr int kCount = kSourceKinds * kBuckets * 3;

  SourceKind kind = SourceKind::kOwn;
  uint8_t bucket = 0;
  Evidence evidence = Evidence::kSingle;

  static int bucket_of(uint32_t match_length);  // 1, 2, 3, 4, 5-6, 7-8, 9-12, 13-16, 17-32, 33...
  int index() const { return (static_cast<int>(kind) * kBuckets + bucket) * 3 + static_cast<int>(evidence); }
};

class AcceptanceTable {
 public:
  static constexpr double kMemory = 256;
  static constexpr double kPriorWeight = 4;

  AcceptanceTable();

  // The token at `position` (from 0) of a draft of this class was what the model produced, or not.
  // REQUIRES: those before it were; 0 <= position < kMaxDraftTokens.
  void record(const MatchClass& match, int position, bool accepted);

  double acceptance(const MatchClass& match, int position) const;
  // Chance that tokens 0..i are all accepted, for i < out.size() <= kMaxDraftTokens. Non-increasing, in (0,
  // 1).
  void survival(const MatchClass& match, std::span<double> out) const;
  // Expected accepted tokens of a draft of `length`: the sum of survival.
  double expected(const MatchClass& match, int length) const {
    return expected_[static_cast<size_t>(match.index())][static_cast<size_t>(length)];
  }

 private:
  struct Beta {
    float accepted, rejected;
    double mean() const {
      return static_cast<double>(accepted) / (static_cast<double>(accepted) + static_cast<double>(rejected));
    }
  };
  void sum_up(size_t index);

  std::vector<std::array<Beta, kMaxDraftTokens>> counts_;          // by MatchClass::index
  std::vector<std::array<double, kMaxDraftTokens + 1>> expected_;  // by length
};

}  // namespace agentinfer
