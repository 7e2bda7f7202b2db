#pragma once
// AgentSAM in the engine: gives sequences their sources, drafts for the whole batch at once, and learns from
// what verification says. The drafts of all sequences compete for the rows of a step, so under load, or where
// nothing matches, there are none.

#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "draft/draft_memory.h"
#include "draft/drafter.h"
#include "engine/speculation.h"

namespace agentinfer {

struct SpeculatorOptions {
  DrafterOptions drafter;
  DraftMemoryOptions memory;
  // Sessions of different engines have different names in files that outlive them: unique, e.g. random.
  std::string engine_name;
  // Holds one file of stored sessions per tenant, read when the tenant first comes and written every
  // `save_every` and at the end. Empty: nothing is kept.
  std::filesystem::path directory;
  std::chrono::seconds save_every{300};
  bool refine_cost =
      true;  // by the steps' times; false: the given cost stays, so that the same plans give the same drafts
};

class Speculator final : public Speculation {
 public:
  // Throws kIo: the directory cannot be made or written.
  Speculator(SpeculatorOptions options, StepCost cost, int max_sequences);
  // Writes the tenants' files. REQUIRES: no sequence has sources any more.
  ~Speculator() override;

  void begin(Sequence& sequence) override;
  void choose(std::span<const BatchEntry> entries, int room,
              std::span<std::span<const int32_t>> out) override;
  void learn(std::span<const BatchEntry> entries, double seconds, StepResult& result) override;
  void end(Sequence& sequence) override;
  void forget_session(int64_t session) override;
  void report(StepResult& result) override;

  DraftMemory& memory() { return memory_; }
  const Drafter& drafter() const { return drafter_; }
  size_t tenants() const { return tenants_.size(); }  // whose files have been read and are kept up to date
  static std::filesystem::path file_of(const std::filesystem::path& directory, const std::string& tenant);

 private:
  using Clock = std::chrono::steady_clock;

  void load(const std::string& tenant);
  void save_all();
  void notice(const std::string& text);
  StepLoad load_of(std::span<const BatchEntry> entries, int room) const;
  void record(const BatchEntry& entry, const Draft& draft, double seconds_per_token, double seconds_per_row,
              StepResult& result);

  const SpeculatorOptions options_;
  DraftMemory memory_;
  Drafter drafter_;
  std::vector<Draft> drafts_;          // beside the entries of the step
  std::vector<const Draft*> offered_;  // null: none
  std::vector<int> lengths_;
  StepLoad load_;  // of the step
  std::unordered_map<int64_t, std::string> session_tenants_;
  // That came since the save before the last: whether there is something new to save. None without a
  // directory.
  std::map<std::string, bool> tenants_;
  Clock::time_point saved_at_;
  std::vector<std::future<SessionStore::Loaded>> loads_;
  std::vector<std::future<void>> saves_;
  std::vector<std::string> notices_;
  uint64_t failures_seen_ = 0;
};

}  // namespace agentinfer
