// aclmdlRI*: capture, replay, task groups and their update.

#include <cstring>
#include <fstream>

#include "abi/acl_graph.h"
#include "control/api.h"
#include "graph/capture.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;

Stream& capture_stream(aclrtStream stream) {
  require(stream, kNull, "stream is null");
  return own_stream(stream);
}

std::string kinds_json(Graph& graph) {
  std::string out = "[";
  for (const auto& node : graph.nodes) {
    const std::lock_guard lock(node->mutex);
    out += (out.size() > 1 ? ", \"" : "\"") + node->task->name + "\"";
  }
  return out + "]";
}

}  // namespace

extern "C" {

aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode mode) {
  return api("aclmdlRICaptureBegin", args(stream, mode),
             [&] { begin_capture(capture_stream(stream), mode); });
}

aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI* modelRI) {
  return api("aclmdlRICaptureEnd", args(stream, modelRI), [&] {
    require(modelRI, kNull, "modelRI is null");
    *modelRI = nullptr;
    *modelRI = end_capture(capture_stream(stream));
  });
}

aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI) {
  return api("aclmdlRICaptureGetInfo", args(stream, status, modelRI), [&] {
    require(stream, kNull, "stream is null");
    capture_info(any_stream(stream), status, modelRI);
  });
}

aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode) {
  return api("aclmdlRICaptureThreadExchangeMode", args(mode), [&] {
    require(mode, kNull, "mode is null");
    *mode = exchange_mode(*mode);
  });
}

aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream) {
  return api("aclmdlRIExecuteAsync", args(modelRI, stream),
             [&] { execute_graph(checked_graph(modelRI), own_stream(stream)); });
}

aclError aclmdlRIExecute(aclmdlRI modelRI, int32_t timeout) {
  return api("aclmdlRIExecute", args(modelRI, timeout), [&] {
    require(timeout == -1 || timeout > 0, ACL_ERROR_RT_PARAM_INVALID, "timeout must be -1 or positive, is ",
            timeout);
    Stream& stream = own_stream(nullptr);
    execute_graph(checked_graph(modelRI), stream);
    if (!stream.wait(timeout))
      decline(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "not finished after ", timeout, " ms");
    check_health(stream.context());
  });
}

aclError aclmdlRIDestroy(aclmdlRI modelRI) {
  return api("aclmdlRIDestroy", args(modelRI), [&] { destroy_graph(checked_graph(modelRI)); });
}

aclError aclmdlRIDebugPrint(aclmdlRI modelRI) {
  return api("aclmdlRIDebugPrint", args(modelRI), [&] { checked_graph(modelRI); });
}

aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char* path, uint32_t flags) {
  return api("aclmdlRIDebugJsonPrint", args(modelRI, path, flags), [&] {
    Graph& graph = checked_graph(modelRI);
    require(path, kNull, "path is null");
    std::ofstream(path) << kinds_json(graph) << "\n";
  });
}

aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream) {
  return api("aclmdlRICaptureTaskGrpBegin", args(stream), [&] { begin_group(capture_stream(stream)); });
}

aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp* handle) {
  return api("aclmdlRICaptureTaskGrpEnd", args(stream, handle), [&] {
    require(handle, kNull, "handle is null");
    *handle = end_group(capture_stream(stream));
  });
}

aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle) {
  return api("aclmdlRICaptureTaskUpdateBegin", args(stream, handle), [&] {
    require(handle, kNull, "handle is null");
    begin_update(capture_stream(stream), handle);
  });
}

aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream) {
  return api("aclmdlRICaptureTaskUpdateEnd", args(stream), [&] { end_update(capture_stream(stream)); });
}

aclError aclmdlRIUpdate(aclmdlRI modelRI) {
  return api("aclmdlRIUpdate", args(modelRI), [&] { checked_graph(modelRI); });
}

aclError aclmdlRISetName(aclmdlRI modelRI, const char* name) {
  return api("aclmdlRISetName", args(modelRI, name), [&] {
    Graph& graph = checked_graph(modelRI);
    require(name, kNull, "name is null");
    const std::lock_guard lock(capture_mutex());
    graph.name = name;
  });
}

aclError aclmdlRIGetName(aclmdlRI modelRI, uint32_t maxLen, char* name) {
  return api("aclmdlRIGetName", args(modelRI, maxLen, name), [&] {
    Graph& graph = checked_graph(modelRI);
    const std::lock_guard lock(capture_mutex());
    require(name && maxLen > graph.name.size(), kNull, "no room for the name");
    std::memcpy(name, graph.name.c_str(), graph.name.size() + 1);
  });
}

}  // extern "C"
