#pragma once
// How likely the model is to accept the tokens of a draft, learnt online from what it emitted: a Beta count
// for each (source kind, match bucket, evidence, position). Acceptance at a position is given that all before
// it were accepted, so the chance that a draft survives up to there is the running product (arXiv
// 2411.04975's path score with measured factors; vLLM's adaptive verification buckets the same way).
//
// A count that has seen little leans on what all kinds of sources and the positions nearby have seen
// together, and that on a prior: so a short run learns from its first outcomes. Old outcomes fade: a count
// never weighs more than kMemory outcomes. Thread safety: none; the engine's thread owns it.

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

// What the occurrences of the text before a drafted token say about it.
enum class Evidence : uint8_t {
  kSingle,     // there is one
  kTwice,      // two, and both go on with it
  kUnanimous,  // three or more, and all do
  kMostly,     // three in five do
  kPartly,     // one in four
  kRarely,     // fewer
};
inline constexpr int kEvidences = 6;
// Of `count` occurrences `of_it` went on with the token.
Evidence evidence_of(uint32_t count, uint32_t of_it);

// What the other sources that match say about a draft's first token.
enum class Voice : uint8_t {
  kAgreed,    // another has it, and none with a match as long has another
  kOpen,      // none says anything, or some this and some that
  kDisputed,  // none has it, and one with a match as long has another
};
inline constexpr int kVoices = 3;

struct MatchClass {
  static constexpr int kBuckets = 13;
  static constexpr int kCount = kSourceKinds * kBuckets;

  SourceKind kind = SourceKind::kOwn;
  uint8_t bucket = 0;
  Voice voice = Voice::kOpen;

  // Matches of up to 4 tokens by how much they say: `bits` is the information in their tokens, less what a
  // match somewhere in the source takes by chance. Below -3, 0, 1.5, 3, 5, 8 bits and above; longer ones by
  // length: 5-6, 7-8, 9-12, 13-16, 17-32, 33...
  static constexpr uint32_t kByBits = 4;
  static int bucket_of(uint32_t match_length, double bits);
  int index() const { return static_cast<int>(kind) * kBuckets + bucket; }
};

class AcceptanceTable {
 public:
  static constexpr double kMemory = 256;
  static constexpr double kPriorWeight = 4;

  AcceptanceTable();

  // The token at `position` (from 0) of a draft of this class was what the model produced, or not.
  // REQUIRES: those before it were; 0 <= position < kMaxDraftTokens.
  // `for_all`: not just of this kind of source (false: another kind's outcome in this place was recorded).
  void record(const MatchClass& match, int position, Evidence evidence, bool accepted, bool for_all = true);
  double acceptance(const MatchClass& match, int position, Evidence evidence) const;
  // Chance that tokens 0..i are all accepted, for i < out.size() <= kMaxDraftTokens. Non-increasing, in (0,
  // 1). `evidence`: of each token.
  void survival(const MatchClass& match, std::span<const Evidence> evidence, std::span<double> out) const;
  // Expected accepted tokens of a draft of `length` whose tokens all have the first one's evidence.
  double expected(const MatchClass& match, Evidence evidence, int length) const;

 private:
  struct Beta {
    float accepted = 0, rejected = 0;
    void add(bool right);
    double mean(double prior) const {
      return (static_cast<double>(accepted) + prior * kPriorWeight) /
             (static_cast<double>(accepted) + static_cast<double>(rejected) + kPriorWeight);
    }
  };
  // The first token's by voice, then by position; of all kinds of sources, positions 1, 2-3, 4-7, 8...
  static int slot_of(const MatchClass& match, int position);
  static int stretch_of(int slot);
  static constexpr int kSlots = kMaxDraftTokens + kVoices - 1, kStretches = kVoices + 4;
  struct Row {
    std::array<std::array<Beta, kEvidences>, kSlots> at;
  };
  std::vector<Row> rows_;  // by MatchClass::index
  std::array<std::array<std::array<Beta, kEvidences>, kStretches>, MatchClass::kBuckets>
      all_;  // of all kinds
};

}  // namespace agentinfer
