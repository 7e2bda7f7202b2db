#pragma once
// Capture and replay. While a stream is in capture, what is put on it becomes a node of the graph instead of
// running. A replay runs the nodes in capture order as one task of the replaying stream: a legal order,
// because a node can only wait for nodes captured before it. Waits for events of kind external are real at
// each replay.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/event.h"
#include "runtime/stream.h"

namespace emu {

// A captured task; a task update swaps it.
struct Node {
  std::mutex mutex;
  TaskPtr task;  // guarded by mutex
};

struct Graph;

struct TaskGroup {
  std::vector<std::shared_ptr<Node>> nodes;
  std::vector<TaskPtr> replacements;  // collected between UpdateBegin and End
  Graph* graph = nullptr;
};

struct Graph {
  Context* context = nullptr;
  std::vector<std::shared_ptr<Node>> nodes;
  std::vector<std::shared_ptr<TaskGroup>> groups;
  std::atomic<int> running{0};
  std::atomic<bool> alive{true}, complete{false};
  uint64_t streams_held = 0;
  std::string name;  // guarded by the capture mutex
};

struct Capture {
  Stream* origin = nullptr;
  std::thread::id thread;
  aclmdlRICaptureMode mode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
  std::string invalid;  // why, when not empty
  Graph* graph = nullptr;
  // For each stream in the capture: how many of its own nodes it has, and how many of the others' it has
  // seen.
  std::map<Stream*, std::map<Stream*, size_t>> seen;
};

// The submission hooks. True: the task (record, wait) belongs to a capture or update and was taken.
bool take_into_capture(Stream& stream, const TaskPtr& task);
bool capture_record(Event& event, Stream& stream);
bool capture_wait(Event& event, Stream& stream, uint64_t timeout_ms);

bool is_capturing(Stream& stream);
// An operation that must not touch a stream (or event) in capture: refuses with `code` and spoils the
// capture.
void refuse_if_captured(Stream& stream, int code, const char* what);
void refuse_if_captured(Event& event, const char* what);
void refuse_if_device_captured(Context& context);
// An operation that a capture's mode forbids to this thread (allocation, synchronous copies): 107030.
void refuse_unsafe(const char* what);
// Kernels need a first run with the same shapes outside of a capture.
void require_warm(Stream& stream, const std::string& key);

void begin_capture(Stream& stream, aclmdlRICaptureMode mode);
Graph* end_capture(Stream& stream);
void capture_info(Stream& stream, aclmdlRICaptureStatus* status, aclmdlRI* graph);
aclmdlRICaptureMode exchange_mode(aclmdlRICaptureMode mode);

Graph& checked_graph(aclmdlRI handle);
void execute_graph(Graph& graph, Stream& stream);
void destroy_graph(Graph& graph);
uint64_t live_graphs();
void drop_graphs_of(Context& context);  // with its context; says how many were left

void begin_group(Stream& stream);
TaskGroup* end_group(Stream& stream);
void begin_update(Stream& stream, aclrtTaskGrp handle);
void end_update(Stream& stream);

std::mutex& capture_mutex();

}  // namespace emu
