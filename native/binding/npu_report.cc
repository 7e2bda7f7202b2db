#include "binding/npu_report.h"

#include "backend/ascend/cann.h"
#include "binding/convert.h"
#include "binding/task.h"

namespace agentinfer {
namespace {

Napi::Value to_js(Napi::Env env, CannReport& report) {
  Napi::Object object = Napi::Object::New(env);
  object["loaded"] = report.loaded;
  object["problem"] = report.problem;
  object["folder"] = report.folder;
  object["version"] = report.version;
  object["minimum"] = kMinimumCann;
  object["soc"] = report.soc;
  Napi::Array absent = Napi::Array::New(env, report.absent.size());
  for (uint32_t i = 0; i < report.absent.size(); ++i) absent[i] = Napi::String::New(env, report.absent[i]);
  object["absent"] = absent;
  Napi::Array devices = Napi::Array::New(env, report.list.size());
  for (uint32_t i = 0; i < report.list.size(); ++i) {
    const CannReport::Device& from = report.list[i];
    Napi::Object device = Napi::Object::New(env);
    device["id"] = from.id;
    device["free"] = static_cast<double>(from.free);
    device["total"] = static_cast<double>(from.total);
    device["problem"] = from.problem;
    devices[i] = device;
  }
  object["devices"] = devices;
  return object;
}

}  // namespace

Napi::Value npu_report(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return run_task<CannReport>(
        info.Env(), [] { return examine_cann(); },
        [](Napi::Env env, CannReport& report) -> Napi::Value { return to_js(env, report); });
  });
}

}  // namespace agentinfer
