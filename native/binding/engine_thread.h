#pragma once
// The engine's thread and its link to JavaScript, apart from any JavaScript object so that either may go
// first.

#include <napi.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "engine/loaded_engine.h"
#include "engine/worker.h"

namespace agentinfer {

class EngineThread : public std::enable_shared_from_this<EngineThread> {
 public:
  // On the JavaScript thread. `callback` is called there as described in engine_object.h.
  static std::shared_ptr<EngineThread> start(Napi::Env env, Napi::Function callback, EngineOptions options);
  ~EngineThread();

  // JavaScript thread. Jobs run in order on the engine's thread; ignored after close.
  void add(SequenceSpec spec);
  void remove(int32_t id);
  void forget(int64_t session);
  // One or more results follow: the last of them says that no more come by themselves. Anything else that is
  // queued, `interrupt` too, makes the step in flight the last.
  void step(std::unique_ptr<StepPlan> plan);
  void interrupt();
  void check();
  void close();
  void ref(Napi::Env env);
  void unref(Napi::Env env);

 private:
  // Builds the callback's arguments on the JavaScript thread.
  using Tell = std::function<void(Napi::Env env, Napi::Function callback)>;
  struct Event {
    Tell tell;
    bool lasting = false;  // not made for one sending, and not freed behind it
  };
  // What must arrive though there is no memory left. They outlive every thread: an environment that ends
  // empties its queue when the thread may be gone.
  static Event closed_event, lost_event;

  EngineThread() = default;
  // Runs the job on the engine's thread. What it throws every later step fails with.
  void post(std::function<void()> job);
  void open(EngineOptions options);
  StepResult step_now(const StepPlan& plan);
  void publish(StepResult result);
  void emit(Tell tell);
  bool send(Event& event);
  void end();
  void environment_ends();
  static void environment_hook(void* self);
  static void call_js(Napi::Env env, Napi::Function callback, std::nullptr_t*, Event* event);

  using Link = Napi::TypedThreadSafeFunction<std::nullptr_t, Event, &EngineThread::call_js>;

  std::atomic<bool> abort_load_{false};
  std::unique_ptr<LoadedEngine> engine_;  // engine thread only, as the next
  std::exception_ptr broken_;             // what a job threw: the engine may be in any state
  std::mutex link_mutex_;
  Link link_;               // guarded by link_mutex_
  bool linked_ = false;     // guarded by link_mutex_
  napi_env env_ = nullptr;  // JavaScript thread; null after the environment ended
  std::shared_ptr<EngineThread>
      self_;                        // keeps this alive until its last event was delivered; JavaScript thread
  std::unique_ptr<Worker> worker_;  // last: it uses everything above
};

}  // namespace agentinfer
