#include "graph/capture.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "control/config.h"
#include "control/counters.h"
#include "graph/graph.h"

namespace emu {
namespace {

struct State {
  std::mutex mutex;
  std::vector<std::shared_ptr<Capture>> active;  // guarded by mutex, as all below
  std::unordered_set<std::string> warm;
};

State& state() {
  static State* instance = new State;
  return *instance;
}

thread_local aclmdlRICaptureMode t_mode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;

void add_node(Capture& capture, Stream& stream, const TaskPtr& task) {
  auto node = std::make_shared<Node>();
  node->task = task;
  capture.graph->nodes.push_back(node);
  ++capture.seen[&stream][&stream];
  if (stream.group) stream.group->nodes.push_back(node);
}

void spoil(Capture& capture, const std::string& why) {
  if (capture.invalid.empty()) capture.invalid = why;
}

}  // namespace

std::mutex& capture_mutex() {
  return state().mutex;
}

bool take_into_capture(Stream& stream, const TaskPtr& task) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (stream.update) {
    require(task->kind == TaskKind::kKernel, ACL_ERROR_STREAM_TASK_GROUP_STATUS, task->name,
            " inside a task update: only single operators are allowed");
    stream.update->replacements.push_back(task);
    return true;
  }
  if (stream.capture) {
    add_node(*stream.capture, stream, task);
    return true;
  }
  if (stream.is_default()) {
    for (const auto& capture : s.active) {
      if (&capture->origin->context() != &stream.context()) continue;
      spoil(*capture, "work on the default stream");
      refuse(ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "work on the default stream while a capture is active");
    }
  }
  return false;
}

bool capture_record(Event& event, Stream& stream) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!stream.capture) {
    event.capture.reset();
    return false;
  }
  if (event.external()) {  // a real record at each replay
    add_node(*stream.capture, stream, make_task("event record", TaskKind::kRecord, [&event](Stream& at) {
      uint64_t version;
      {
        const std::lock_guard guard(event.mutex);
        version = ++event.submitted;
      }
      note_recorded(event, version, at);
    }));
    return true;
  }
  if (!event.ex) {
    spoil(*stream.capture, "an event not of the Ex kind");
    refuse(ACL_ERROR_RT_EVENT_CAPTURED, "events inside a capture must come from aclrtCreateEventExWithFlag");
  }
  event.capture = stream.capture;
  event.seen = stream.capture->seen[&stream];
  return true;
}

bool capture_wait(Event& event, Stream& stream, uint64_t timeout_ms) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::shared_ptr<Capture> recorded = event.capture.lock();
  const bool in_capture = recorded && std::ranges::find(s.active, recorded) != s.active.end();
  if (!stream.capture && !in_capture) return false;
  if (event.external() && stream.capture) {
    add_node(*stream.capture, stream,
             make_task("event wait", TaskKind::kWait,
                       [&event, timeout_ms](Stream& at) { await_set(event, at, timeout_ms); }));
    return true;
  }
  if (stream.capture && !in_capture) {
    spoil(*stream.capture, "a wait for an event recorded outside");
    refuse(ACL_ERROR_RT_CAPTURE_DEPENDENCY,
           "a captured stream waits for an event that was not recorded in the capture");
  }
  if (stream.capture && stream.capture != recorded) {
    spoil(*stream.capture, "a wait for another capture's event");
    refuse(ACL_ERROR_STREAM_CAPTURE_CONFLICT, "a captured stream waits for an event of another capture");
  }
  require(!stream.is_default(), ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT,
          "the default stream cannot join a capture");
  stream.capture = recorded;  // a side stream joins
  for (const auto& [other, nodes] : event.seen) {
    size_t& seen = recorded->seen[&stream][other];
    seen = std::max(seen, nodes);
  }
  recorded->seen[&stream].try_emplace(&stream, 0);
  return true;
}

bool is_capturing(Stream& stream) {
  const std::lock_guard lock(state().mutex);
  return stream.capture != nullptr;
}

void refuse_if_captured(Stream& stream, int code, const char* what) {
  const std::lock_guard lock(state().mutex);
  if (!stream.capture) return;
  spoil(*stream.capture, what);
  refuse(code, what, " on a stream in capture");
}

void refuse_if_captured(Event& event, const char* what) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::shared_ptr<Capture> recorded = event.capture.lock();
  if (!recorded || std::ranges::find(s.active, recorded) == s.active.end()) return;
  spoil(*recorded, what);
  refuse(ACL_ERROR_RT_EVENT_CAPTURED, what, " of an event recorded in a capture");
}

void refuse_if_device_captured(Context& context) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  for (const auto& capture : s.active) {
    if (&capture->origin->context() != &context) continue;
    spoil(*capture, "device synchronisation");
    refuse(ACL_ERROR_RT_STREAM_CAPTURED, "the device is synchronised while a capture is active on it");
  }
}

void refuse_unsafe(const char* what) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (t_mode == ACL_MODEL_RI_CAPTURE_MODE_RELAXED) return;
  for (const auto& capture : s.active) {
    const bool own = capture->thread == std::this_thread::get_id();
    const bool forbids = capture->mode == ACL_MODEL_RI_CAPTURE_MODE_GLOBAL
                             ? own || t_mode == ACL_MODEL_RI_CAPTURE_MODE_GLOBAL
                             : capture->mode == ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL && own;
    if (!forbids) continue;
    spoil(*capture, what);
    refuse(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, what, " is not allowed while a capture of mode ",
           static_cast<int>(capture->mode), " is active");
  }
}

void require_warm(Stream& stream, const std::string& key) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!stream.capture) {
    s.warm.insert(key);
    return;
  }
  if (t_mode == ACL_MODEL_RI_CAPTURE_MODE_RELAXED ||
      stream.capture->mode == ACL_MODEL_RI_CAPTURE_MODE_RELAXED || s.warm.contains(key) || !rule_on("warmup"))
    return;
  spoil(*stream.capture, "a kernel's first use");
  refuse(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, "first use of ", key,
         " inside a capture: its kernel is loaded with a synchronous copy; run it once before");
}

void begin_capture(Stream& stream, aclmdlRICaptureMode mode) {
  require(mode >= ACL_MODEL_RI_CAPTURE_MODE_GLOBAL && mode <= ACL_MODEL_RI_CAPTURE_MODE_RELAXED,
          ACL_ERROR_RT_PARAM_INVALID, "unknown capture mode ", static_cast<int>(mode));
  require(!stream.is_default(), ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT,
          "the default stream cannot be captured");
  State& s = state();
  const std::lock_guard lock(s.mutex);
  require(!stream.capture, ACL_ERROR_RT_STREAM_CAPTURED, "the stream is in capture already");
  require(!stream.update, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "the stream is in a task update");
  auto capture = std::make_shared<Capture>();
  capture->origin = &stream;
  capture->thread = std::this_thread::get_id();
  capture->mode = mode;
  capture->graph = new_graph(stream.context());
  capture->seen[&stream][&stream] = 0;
  stream.capture = capture;
  s.active.push_back(capture);
}

namespace {

// Every side stream's last node must have been seen by the origin.
std::string unjoined(const Capture& capture) {
  const auto& origin = capture.seen.at(capture.origin);
  for (const auto& [stream, seen] : capture.seen) {
    const auto mine = seen.find(stream);
    const auto seen_by_origin = origin.find(stream);
    const size_t nodes = mine == seen.end() ? 0 : mine->second;
    if (stream != capture.origin && (seen_by_origin == origin.end() || seen_by_origin->second < nodes))
      return text("stream ", stream->id(), " was not joined back");
  }
  return {};
}

}  // namespace

Graph* end_capture(Stream& stream) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const std::shared_ptr<Capture> capture = stream.capture;
  require(capture != nullptr, ACL_ERROR_RT_STREAM_NOT_CAPTURED, "the stream is not in capture");
  require(capture->origin == &stream, ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED,
          "the capture began on another stream");
  require(capture->mode == ACL_MODEL_RI_CAPTURE_MODE_RELAXED || capture->thread == std::this_thread::get_id(),
          ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD, "the capture began on another thread");
  const bool open_group = stream.group != nullptr;
  for (const auto& [member, seen] : capture->seen) {
    member->capture.reset();
    member->group.reset();
  }
  std::erase(s.active, capture);
  Graph* graph = capture->graph;
  const std::string loose = unjoined(*capture);
  if (!capture->invalid.empty() || !loose.empty() || open_group) drop_graph(*graph);
  if (!capture->invalid.empty())
    decline(ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED, "the capture was spoilt by: ", capture->invalid);
  require(loose.empty(), ACL_ERROR_RT_STREAM_UNJOINED, loose);
  require(!open_group, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "a task group was not ended");
  hold_streams(*graph, capture->seen.size());
  graph->complete = true;
  return graph;
}

void capture_info(Stream& stream, aclmdlRICaptureStatus* status, aclmdlRI* graph) {
  const std::lock_guard lock(state().mutex);
  if (graph) *graph = stream.capture ? stream.capture->graph : nullptr;
  if (!status) return;
  *status = !stream.capture                   ? ACL_MODEL_RI_CAPTURE_STATUS_NONE
            : stream.capture->invalid.empty() ? ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE
                                              : ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED;
}

aclmdlRICaptureMode exchange_mode(aclmdlRICaptureMode mode) {
  return std::exchange(t_mode, mode);
}

void begin_group(Stream& stream) {
  require(compare_versions(config().driver_version, "25.0.RC1") >= 0, ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
          "task groups need driver 25.0.RC1, this is ", config().driver_version);
  const std::lock_guard lock(state().mutex);
  require(stream.capture != nullptr, ACL_ERROR_RT_STREAM_NOT_CAPTURED, "the stream is not in capture");
  require(!stream.group, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "a task group is open already");
  stream.group = std::make_shared<TaskGroup>();
  stream.group->graph = stream.capture->graph;
}

TaskGroup* end_group(Stream& stream) {
  const std::lock_guard lock(state().mutex);
  require(stream.group != nullptr, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "no task group is open");
  const std::shared_ptr<TaskGroup> group = std::move(stream.group);
  stream.group.reset();
  require(!group->nodes.empty(), ACL_ERROR_STREAM_TASK_GROUP_STATUS, "the task group is empty");
  group->graph->groups.push_back(group);
  return group.get();
}

}  // namespace emu
