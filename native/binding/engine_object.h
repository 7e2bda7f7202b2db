#pragma once
// `NativeEngine` in lib/native.ts: an engine on its own thread. Every call returns at once; what happens
// comes back through the one callback given at construction, in order:
//   callback('progress', {done, total})   while loading
//   callback('opened', info) | callback('failed', error)
//   callback('rejected', {id, error})     add() refused a sequence
//   callback('result', result)            one for each step(), or more (StepPlan::ahead)
//   callback('closed')                    the last event; everything is freed
//
// Lifetime: the thread-safe function is the link to JavaScript. It is released by the job that ends the
// engine, or, when the environment goes away first (worker terminated, process exit), by the cleanup hook,
// which stops the thread and waits for the step in flight. The object itself owns nothing that outlives
// `close`.

#include <napi.h>

#include <memory>

namespace agentinfer {

class EngineThread;
struct EngineOptions;

// Options as lib/native.ts names them. Throws kInvalidArgument.
EngineOptions engine_options(const Napi::Object& object);

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

 private:
  Napi::Value add(const Napi::CallbackInfo& info);
  Napi::Value remove(const Napi::CallbackInfo& info);
  Napi::Value forget(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value interrupt(const Napi::CallbackInfo& info);
  Napi::Value check(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value ref(const Napi::CallbackInfo& info);
  Napi::Value unref(const Napi::CallbackInfo& info);

  std::shared_ptr<EngineThread> thread_;
};

}  // namespace agentinfer
