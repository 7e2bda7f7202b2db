// Phase 2: checks the executor, its tensors and the workspace, and puts the kernel on the stream.

#include <cstring>

#include "control/config.h"
#include "control/counters.h"
#include "graph/capture.h"
#include "meta/executor.h"
#include "runtime/memory.h"

namespace emu {

void consume_executor(aclOpExecutor* executor) {
  try {
    destroy_executor(executor);
  } catch (const Refusal&) {
  }
}

namespace {

constexpr int kBad = ACLNN_ERR_PARAM_INVALID;
constexpr int kFault = ACL_ERROR_RT_VECTOR_CORE_EXCEPTION;

// Composite operators read the tensor objects again in phase 2 (always, when repeatable), so these must live,
// and their address must be the executor's.
void check_objects(const aclOpExecutor& e) {
  const auto check = [&](const Argument& argument, const char* side, size_t index) {
    for (size_t i = 0; i < argument.objects.size(); ++i) {
      const aclTensor* object = argument.objects[i];
      if (!object) continue;
      require(meta_alive(Meta::kTensor, object), kBad, side, " ", index, " of ", e.op,
              ": its tensor was destroyed before phase 2");
      require(
          object->data == argument.tensors[i].data, kBad, side, " ", index, " of ", e.op,
          ": the tensor's address was changed between the phases, or through another executor than this one");
    }
  };
  for (size_t i = 0; i < e.inputs.size(); ++i) check(e.inputs[i], "input", i);
  for (size_t i = 0; i < e.outputs.size(); ++i) check(e.outputs[i], "output", i);
}

Operand make_operand(const aclTensor& tensor, bool written, int device, const char* what) {
  Operand o;
  o.tensor = tensor;
  o.present = true;
  o.extent = extent_of(tensor);
  o.written = written;
  if (o.extent.end == o.extent.begin) return o;
  const char* begin = static_cast<const char*>(tensor.data) + o.extent.begin;
  o.block =
      device_bytes(begin, static_cast<size_t>(o.extent.end - o.extent.begin), device, kBad, what, true).block;
  return o;
}

std::shared_ptr<Frame> make_frame(const aclOpExecutor& e, Stream& stream) {
  auto frame = std::make_shared<Frame>();
  frame->stream = &stream;
  frame->op = e.op;
  const auto fill = [&](const std::vector<Argument>& from, std::vector<std::vector<Operand>>& to,
                        bool written) {
    for (size_t i = 0; i < from.size(); ++i) {
      to.emplace_back();
      for (const aclTensor& tensor : from[i].tensors)
        to.back().push_back(
            make_operand(tensor, written, e.device, text(written ? "output " : "input ", i).c_str()));
    }
  };
  fill(e.inputs, frame->in, false);
  fill(e.outputs, frame->out, true);
  return frame;
}

struct Workspace {
  const char* at = nullptr;
  uint64_t size = 0, block = 0;
};

Workspace check_workspace(const aclOpExecutor& e, void* at, uint64_t size, const Frame& frame) {
  require(size >= e.workspace, kBad, "workspace of ", size, " bytes, phase 1 asked for ", e.workspace);
  if (e.workspace == 0) return {};
  require(at, ACLNN_ERR_PARAM_NULLPTR, "workspace is null, phase 1 asked for ", e.workspace, " bytes");
  require(reinterpret_cast<uintptr_t>(at) % 32 == 0, kBad, "workspace ", at, " is not 32-byte aligned");
  Workspace w{static_cast<const char*>(at), e.workspace, 0};
  w.block = device_bytes(at, e.workspace, e.device, kBad, "the workspace", false).block;
  const auto overlaps = [&](const Operand& o) {
    const char* begin = static_cast<const char*>(o.tensor.data) + o.extent.begin;
    const char* end = static_cast<const char*>(o.tensor.data) + o.extent.end;
    return o.block && begin < w.at + w.size && w.at < end;
  };
  for (const auto* side : {&frame.in, &frame.out})
    for (const auto& argument : *side)
      for (const Operand& o : argument)
        require(!overlaps(o), kBad, "the workspace overlaps an operand at ", describe(o.tensor.data));
  return w;
}

void resolve(Operand& o, int device, const char* op) {
  if (o.extent.end == o.extent.begin) return;
  const char* begin = static_cast<const char*>(o.tensor.data) + o.extent.begin;
  o.bytes = device_bytes(begin, static_cast<size_t>(o.extent.end - o.extent.begin), device, kFault,
                         o.written ? "an output" : "an input", true);
  require(o.bytes.block == o.block, kFault, "memory of an operand of ", op,
          " was freed and allocated anew after it was queued or captured");
}

void poison(const Workspace& w, int device) {
  if (!w.size) return;
  const Bytes bytes = device_bytes(w.at, w.size, device, kFault, "the workspace", false);
  require(bytes.block == w.block, kFault,
          "the workspace was freed and allocated anew after it was queued or captured");
  std::memset(bytes.at, kPoison, w.size);
}

void run_kernel(const Frame& prepared, const Kernel& kernel, const Workspace& workspace, Stream& at) {
  Frame frame = prepared;  // a captured task runs many times
  frame.stream = &at;
  uint64_t read = 0, written = 0;
  const auto open = [&](std::vector<std::vector<Operand>>& side, uint64_t& bytes) {
    for (auto& argument : side)
      for (Operand& o : argument) {
        resolve(o, at.device(), frame.op.c_str());
        bytes += static_cast<uint64_t>(o.count()) * element_size(o.dtype());
      }
  };
  open(frame.in, read);
  open(frame.out, written);
  poison(workspace, at.device());
  kernel(frame);
  poison(workspace, at.device());
  count_kernel(frame.op, read, written, frame.flops);
}

void watch_saturation(int id) {
  Device& d = device(id);
  if (d.saturation == ACL_RT_OVERFLOW_MODE_INFNAN || !rule_on("sat_mode") || d.told_saturation.exchange(true))
    return;
  report(
      "kernels run before aclrtSetDeviceSatMode(INFNAN): fp16 overflow would clamp and NaN checks would "
      "fail");
}

void launch_checked(const char* op, void* workspace, uint64_t size, aclOpExecutor* handle,
                    aclrtStream stream_handle) {
  aclOpExecutor& e = checked_executor(handle, ACLNN_ERR_PARAM_NULLPTR, kBad);
  require(e.op == op, kBad, "the executor was made by ", e.op, "GetWorkspaceSize");
  Stream& stream = own_stream(stream_handle);
  require(stream.device() == e.device, kBad, "phase 1 ran for device ", e.device,
          ", the stream is of device ", stream.device());
  check_objects(e);
  const std::shared_ptr<Frame> frame = make_frame(e, stream);
  const Workspace w = check_workspace(e, workspace, size, *frame);
  require_warm(stream, text(e.key, " on device ", e.device));
  watch_saturation(e.device);
  const bool eager = !is_capturing(stream) && !stream.update;
  ++e.runs;
  auto task = make_task(op, TaskKind::kKernel,
                        [frame, kernel = e.kernel, w](Stream& at) { run_kernel(*frame, kernel, w, at); });
  task->describe = [frame, key = e.key] { return key; };
  submit(stream, std::move(task));
  if (eager) count(Count::kLaunches);
  if (e.on_launch) e.on_launch();
}

}  // namespace

aclnnStatus launch(const char* op, void* workspace, uint64_t workspace_size, aclOpExecutor* executor,
                   aclrtStream stream) {
  return api(op, args(workspace, workspace_size, static_cast<const void*>(executor), stream), [&] {
    count(Count::kPhase2);
    try {
      launch_checked(op, workspace, workspace_size, executor, stream);
    } catch (const Refusal&) {
      if (executor && workspace_size > 0 && !workspace) consume_executor(executor);  // as nnopbase does
      throw;
    }
    if (!executor->repeatable) consume_executor(executor);
  });
}

}  // namespace emu
