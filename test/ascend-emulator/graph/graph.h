#pragma once
// Lifetime of graphs, used by graph/capture.cc. All under the capture mutex unless said.

#include "graph/capture.h"

namespace emu {

Graph* new_graph(Context& context);
void drop_graph(Graph& graph);  // gives back its streams; the handle is dead from now on
void hold_streams(Graph& graph,
                  uint64_t streams);  // takes them from the device's budget; ends the call with 207008
std::shared_ptr<TaskGroup> find_group(aclrtTaskGrp handle);

}  // namespace emu
