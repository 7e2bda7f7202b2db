#include "draft/acceptance.h"

#include <algorithm>

#include "tensor/check.h"

namespace agentinfer {

namespace {

// What is believed before anything was seen, for the request's own text: rises with the match, i.e. also
// along the draft, since an accepted token makes the match longer.
constexpr std::array<double, MatchClass::kBuckets> kOwnPrior{0.15, 0.30, 0.45, 0.55, 0.65,
                                                             0.72, 0.80, 0.85, 0.90, 0.94};
constexpr std::array<double, kSourceKinds> kKindPrior{1.0, 0.97, 0.97, 0.9, 0.9};
constexpr std::array<double, 3> kEvidencePrior{1.0, 1.03, 0.75};
constexpr std::array<uint32_t, MatchClass::kBuckets> kShortest{1, 2, 3, 4, 5, 7, 9, 13, 17, 33};

double prior_of(size_t index, int position) {
  const size_t evidence = index % 3, bucket = index / 3 % MatchClass::kBuckets,
               kind = index / 3 / MatchClass::kBuckets;
  const int reached = MatchClass::bucket_of(kShortest[bucket] + static_cast<uint32_t>(position));
  const double prior = kOwnPrior[static_cast<size_t>(reached)] * kKindPrior[kind];
  return std::min(prior * (position == 0 ? kEvidencePrior[evidence] : 1.0), 0.97);
}

}  // namespace

std::string_view source_kind_name(SourceKind kind) {
  constexpr std::array<std::string_view, kSourceKinds> kNames{"own", "session", "sibling", "role",
                                                              "retrieved"};
  return kNames[static_cast<size_t>(kind)];
}

int MatchClass::bucket_of(uint32_t match_length) {
  int bucket = 0;
  while (bucket + 1 < kBuckets && match_length >= kShortest[static_cast<size_t>(bucket) + 1]) ++bucket;
  return bucket;
}

AcceptanceTable::AcceptanceTable() : counts_(MatchClass::kCount), expected_(MatchClass::kCount) {
  for (size_t index = 0; index < counts_.size(); ++index) {
    for (int position = 0; position < kMaxDraftTokens; ++position) {
      const double prior = prior_of(index, position);
      counts_[index][static_cast<size_t>(position)] = {static_cast<float>(prior * kPriorWeight),
                                                       static_cast<float>((1 - prior) * kPriorWeight)};
    }
    sum_up(index);
  }
}

void AcceptanceTable::record(const MatchClass& match, int position, bool accepted) {
  const auto index = static_cast<size_t>(match.index());
  Beta& beta = counts_[index][static_cast<size_t>(position)];
  constexpr auto kCap = static_cast<float>(kMemory);
  const float total = beta.accepted + beta.rejected;
  if (total + 1 > kCap) {
    const float fade = (kCap - 1) / total;
    beta.accepted *= fade;
    beta.rejected *= fade;
  }
  (accepted ? beta.accepted : beta.rejected) += 1;
  sum_up(index);
}

double AcceptanceTable::acceptance(const MatchClass& match, int position) const {
  return counts_[static_cast<size_t>(match.index())][static_cast<size_t>(position)].mean();
}

void AcceptanceTable::survival(const MatchClass& match, std::span<double> out) const {
  const auto& counts = counts_[static_cast<size_t>(match.index())];
  double product = 1;
  for (size_t i = 0; i < out.size(); ++i) out[i] = product *= counts[i].mean();
}

void AcceptanceTable::sum_up(size_t index) {
  double product = 1, sum = 0;
  for (size_t i = 0; i < kMaxDraftTokens; ++i) {
    product *= counts_[index][i].mean();
    expected_[index][i + 1] = sum += product;
  }
}

}  // namespace agentinfer
