#include "graph/graph.h"

#include "control/config.h"
#include "control/counters.h"

namespace emu {
namespace {

std::vector<Graph*>& graphs() {
  static auto* instance = new std::vector<Graph*>;  // guarded by the capture mutex; never freed
  return *instance;
}

void run_node(Node& node, Stream& stream) {
  TaskPtr task;
  {
    const std::lock_guard lock(node.mutex);
    task = node.task;
  }
  try {
    task->run(stream);
  } catch (const TaskFault& fault) {
    if (fault.code == ACL_ERROR_RT_STREAM_ABORT) throw;
    throw TaskFault{ACL_ERROR_RT_MODEL_EXECUTE,
                    text(task->name, " failed with ", fault.code, ": ", fault.why)};
  } catch (const Refusal& refusal) {
    report_at(text("captured task ", task->name, task->describe ? "(" + task->describe() + ")" : ""),
              refusal.why);
    throw TaskFault{ACL_ERROR_RT_MODEL_EXECUTE,
                    text(task->name, " failed with ", refusal.code, ": ", refusal.why)};
  }
  if (task->kind == TaskKind::kKernel) count(Count::kGraphKernels);
}

}  // namespace

Graph* new_graph(Context& context) {
  auto* graph = new Graph;
  graph->context = &context;
  graphs().push_back(graph);
  return graph;
}

void drop_graph(Graph& graph) {
  graph.alive = false;
  device(graph.context->device).streams.fetch_sub(graph.streams_held);
  graph.streams_held = 0;
  graph.nodes.clear();
  graph.groups.clear();
}

void hold_streams(Graph& graph, uint64_t streams) {
  Device& d = device(graph.context->device);
  if (d.streams.fetch_add(streams) + streams > config().stream_limit) {
    d.streams.fetch_sub(streams);
    drop_graph(graph);
    decline(ACL_ERROR_RT_NO_STREAM_RESOURCE, "no stream left for the captured graph");
  }
  graph.streams_held = streams;
}

std::shared_ptr<TaskGroup> find_group(aclrtTaskGrp handle) {
  for (Graph* graph : graphs())
    for (const auto& group : graph->groups)
      if (group.get() == handle) return group;
  return nullptr;
}

Graph& checked_graph(aclmdlRI handle) {
  require(handle, ACL_ERROR_INVALID_PARAM, "modelRI is null");
  const std::lock_guard lock(capture_mutex());
  for (Graph* graph : graphs())
    if (graph == handle) {
      require(graph->alive, ACL_ERROR_RT_INVALID_HANDLE, "the graph was destroyed");
      require(graph->complete, ACL_ERROR_RT_MODEL_CAPTURED, "the graph is still being captured");
      return *graph;
    }
  refuse(ACL_ERROR_RT_INVALID_HANDLE, handle, " is not a graph");
}

void execute_graph(Graph& graph, Stream& stream) {
  require(graph.context == &stream.context(), ACL_ERROR_RT_MODEL_CONTEXT,
          "the graph was captured in another context");
  refuse_if_captured(stream, ACL_ERROR_RT_STREAM_CAPTURED, "graph replay");
  count(Count::kGraphReplays);
  ++graph.running;
  // The worker must give the count back whatever happens to the task, even when it is dropped unrun.
  const std::shared_ptr<void> mark(nullptr, [&graph](void*) { --graph.running; });
  submit(stream, make_task("graph replay", TaskKind::kGraph, [&graph, mark](Stream& at) {
           for (size_t i = 0; i < graph.nodes.size(); ++i) {
             if (at.aborted()) throw TaskFault{ACL_ERROR_RT_STREAM_ABORT, "aborted during a replay"};
             run_node(*graph.nodes[i], at);
           }
         }));
}

void destroy_graph(Graph& graph) {
  require(graph.running == 0, ACL_ERROR_RT_MODEL_RUNNING, "the graph is still running: synchronise first");
  const std::lock_guard lock(capture_mutex());
  drop_graph(graph);
}

void drop_graphs_of(Context& context) {
  uint64_t left = 0;
  {
    const std::lock_guard lock(capture_mutex());
    for (Graph* graph : graphs()) {
      if (graph->context != &context || !graph->alive) continue;
      left += graph->complete;
      drop_graph(*graph);
    }
  }
  if (left && !context.error) report(text(left, " graphs were not destroyed before their context"));
}

uint64_t live_graphs() {
  const std::lock_guard lock(capture_mutex());
  uint64_t n = 0;
  for (const Graph* graph : graphs()) n += graph->alive && graph->complete;
  return n;
}

void begin_update(Stream& stream, aclrtTaskGrp handle) {
  const std::lock_guard lock(capture_mutex());
  require(!stream.capture, ACL_ERROR_RT_STREAM_CAPTURED, "a stream in capture cannot update tasks");
  require(!stream.update, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "a task update is open already");
  const std::shared_ptr<TaskGroup> group = find_group(handle);
  require(group != nullptr, ACL_ERROR_RT_INVALID_HANDLE, handle, " is not a task group of a live graph");
  require(group->graph->context == &stream.context(), ACL_ERROR_RT_STREAM_CONTEXT,
          "the group is of another context");
  require(group->replacements.empty(), ACL_ERROR_STREAM_TASK_GROUP_STATUS,
          "another update of the group is open");
  stream.update = group;
}

namespace {

void check_update(const TaskGroup& group) {
  require(group.replacements.size() == group.nodes.size(), ACL_ERROR_STREAM_TASK_GROUP_STATUS,
          "the update has ", group.replacements.size(), " tasks, the group ", group.nodes.size());
  for (size_t i = 0; i < group.nodes.size(); ++i) {
    const std::lock_guard lock(group.nodes[i]->mutex);
    require(group.replacements[i]->name == group.nodes[i]->task->name,
            ACL_ERROR_RT_FEATURE_NOT_SUPPORT_UPDATE_OP, "task ", i, " of the group is ",
            group.nodes[i]->task->name, ", the update has ", group.replacements[i]->name);
  }
}

}  // namespace

void end_update(Stream& stream) {
  std::shared_ptr<TaskGroup> group;
  std::vector<TaskPtr> tasks;
  {
    const std::lock_guard lock(capture_mutex());
    require(stream.update != nullptr, ACL_ERROR_STREAM_TASK_GROUP_STATUS, "no task update is open");
    group = std::move(stream.update);
    stream.update.reset();
    const auto give_back = [&] { tasks.swap(group->replacements); };
    try {
      check_update(*group);
    } catch (const Refusal&) {
      give_back();
      throw;
    }
    give_back();
  }
  count(Count::kTaskUpdates, tasks.size());
  // In stream order: without an event between the update and the replay, the replay may still use the old
  // parameters.
  submit(stream, make_task("task update", TaskKind::kUpdate, [group, tasks](Stream&) {
           for (size_t i = 0; i < group->nodes.size(); ++i) {
             const std::lock_guard lock(group->nodes[i]->mutex);
             group->nodes[i]->task = tasks[i];
           }
         }));
}

}  // namespace emu
