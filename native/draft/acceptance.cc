#include "draft/acceptance.h"

#include <algorithm>

#include "tensor/check.h"

namespace agentinfer {

namespace {

// What is believed before anything was seen: rises with the match, and along the draft, since an accepted
// token makes the match longer.
constexpr std::array<double, MatchClass::kBuckets> kPrior{0.03, 0.10, 0.15, 0.25, 0.45, 0.65, 0.80,
                                                          0.75, 0.80, 0.85, 0.88, 0.90, 0.92};
constexpr double kLaterPrior = 0.85;
constexpr std::array<double, kSourceKinds> kKindPrior{1.0, 0.97, 0.97, 0.9, 0.9};
constexpr std::array<double, kEvidences> kEvidencePrior{1.0, 1.03, 1.05, 0.85, 0.5, 0.2};
constexpr std::array<double, kVoices> kVoicePrior{1.1, 1.0, 0.5};
constexpr std::array<double, 6> kBits{-3, 0, 1.5, 3, 5, 8};
constexpr std::array<uint32_t, 6> kLengths{5, 7, 9, 13, 17, 33};

double prior_of(const MatchClass& match, int position, Evidence evidence) {
  const double prior = position == 0 ? kPrior[match.bucket] * kVoicePrior[static_cast<size_t>(match.voice)]
                                     : std::max(kLaterPrior, kPrior[match.bucket]);
  return std::min(
      prior * kKindPrior[static_cast<size_t>(match.kind)] * kEvidencePrior[static_cast<size_t>(evidence)],
      0.97);
}

}  // namespace

std::string_view source_kind_name(SourceKind kind) {
  constexpr std::array<std::string_view, kSourceKinds> kNames{"own", "session", "sibling", "role",
                                                              "retrieved"};
  return kNames[static_cast<size_t>(kind)];
}

Evidence evidence_of(uint32_t count, uint32_t of_it) {
  if (count <= 1) return Evidence::kSingle;
  if (of_it >= count) return count == 2 ? Evidence::kTwice : Evidence::kUnanimous;
  const double share = static_cast<double>(of_it) / static_cast<double>(count);
  return share >= 0.6 ? Evidence::kMostly : share >= 0.25 ? Evidence::kPartly : Evidence::kRarely;
}

int MatchClass::bucket_of(uint32_t match_length, double bits) {
  int bucket = 0;
  if (match_length <= kByBits) {
    for (const double least : kBits) bucket += bits >= least;
    return bucket;
  }
  bucket = static_cast<int>(kBits.size());
  for (const uint32_t least : kLengths) bucket += match_length >= least;
  return bucket;
}

AcceptanceTable::AcceptanceTable() : rows_(MatchClass::kCount), all_{} {}

int AcceptanceTable::slot_of(const MatchClass& match, int position) {
  return position == 0 ? static_cast<int>(match.voice) : position + kVoices - 1;
}

int AcceptanceTable::stretch_of(int slot) {
  const int position = slot - kVoices + 1;
  return slot <= kVoices ? slot : kVoices + (position < 4 ? 1 : position < 8 ? 2 : 3);
}

void AcceptanceTable::Beta::add(bool right) {
  constexpr auto kCap = static_cast<float>(kMemory);
  const float total = accepted + rejected;
  if (total + 1 > kCap) {
    const float fade = (kCap - 1) / total;
    accepted *= fade;
    rejected *= fade;
  }
  (right ? accepted : rejected) += 1;
}

void AcceptanceTable::record(const MatchClass& match, int position, Evidence evidence, bool accepted,
                             bool for_all) {
  const auto at = static_cast<size_t>(evidence);
  const int slot = slot_of(match, position);
  rows_[static_cast<size_t>(match.index())].at[static_cast<size_t>(slot)][at].add(accepted);
  if (for_all) all_[match.bucket][static_cast<size_t>(stretch_of(slot))][at].add(accepted);
}

double AcceptanceTable::acceptance(const MatchClass& match, int position, Evidence evidence) const {
  const auto at = static_cast<size_t>(evidence);
  const int slot = slot_of(match, position);
  const Beta& all = all_[match.bucket][static_cast<size_t>(stretch_of(slot))][at];
  return rows_[static_cast<size_t>(match.index())].at[static_cast<size_t>(slot)][at].mean(
      all.mean(prior_of(match, position, evidence)));
}

void AcceptanceTable::survival(const MatchClass& match, std::span<const Evidence> evidence,
                               std::span<double> out) const {
  double product = 1;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = product *= acceptance(match, static_cast<int>(i), evidence[i]);
}

double AcceptanceTable::expected(const MatchClass& match, Evidence evidence, int length) const {
  double product = 1, sum = 0;
  for (int i = 0; i < length; ++i) sum += product *= acceptance(match, i, evidence);
  return sum;
}

}  // namespace agentinfer
