#include "control/lifecycle.h"

#include <fstream>
#include <mutex>
#include <sstream>

#include "control/api.h"
#include "control/config.h"

namespace emu {
namespace {

struct State {
  std::mutex mutex;
  uint64_t references = 0;  // guarded by mutex, as all below
  bool operators = false, started = false;
  std::string json;
};

State& state() {
  static State* instance = new State;
  return *instance;
}

}  // namespace

bool runtime_started() {
  return state().started;
}

bool runtime_initialised() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.references > 0 || s.operators;
}

void initialise(const std::string& json) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (config().devices.empty())
    decline(ACL_ERROR_INTERNAL_ERROR,
            "no usable device: ", setting("ASCEND_RT_VISIBLE_DEVICES", "none configured"));
  if (s.references > 0) {
    ++s.references;
    require(json == s.json, ACL_ERROR_INVALID_PARAM,
            "aclInit with another configuration than the first one's");
    decline(ACL_ERROR_REPEAT_INITIALIZE, "initialised already");
  }
  s.json = json;
  s.references = 1;
  s.started = true;
}

void initialise_operators() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.operators = s.started = true;
}

void finalise() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.references == 0) decline(ACL_ERROR_REPEAT_FINALIZE, "finalised already, or never initialised");
  s.references = 0;
  s.operators = false;
}

uint64_t drop_reference() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.references == 0) decline(ACL_ERROR_REPEAT_FINALIZE, "finalised already, or never initialised");
  if (--s.references == 0) s.operators = false;
  return s.references;
}

}  // namespace emu
