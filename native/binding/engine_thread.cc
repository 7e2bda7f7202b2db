#include "binding/engine_thread.h"

#include <utility>

#include "binding/convert.h"
#include "binding/result.h"
#include "engine/plan_run.h"
#include "tensor/current_error.h"

namespace agentinfer {

EngineThread::Event EngineThread::closed_event{
    [](Napi::Env env, Napi::Function callback) { callback.Call({Napi::String::New(env, "closed")}); }, true};

// Stands for a result, and whatever was to come behind it.
EngineThread::Event EngineThread::lost_event{
    [](Napi::Env env, Napi::Function callback) {
      StepResult result;
      result.unhealthy = "there was no memory for the result of a step";
      callback.Call({Napi::String::New(env, "result"), to_js(env, result)});
    },
    true};

std::shared_ptr<EngineThread> EngineThread::start(Napi::Env env, Napi::Function callback,
                                                  EngineOptions options) {
  std::shared_ptr<EngineThread> made(new EngineThread);
  // May throw: before anything refers to `made`.
  made->worker_ = std::make_unique<Worker>([self = made.get()] { self->end(); });
  made->env_ = env;
  made->link_ = Link::New(
      env, callback, "agentinfer engine", 0, 1, nullptr,
      [](Napi::Env, EngineThread* thread, std::nullptr_t*) {
        // The link is gone: nothing calls JavaScript any more, and the thread (if it still runs) is about to
        // end.
        const std::shared_ptr<EngineThread> last = std::exchange(thread->self_, nullptr);
        if (thread->env_ != nullptr) napi_remove_env_cleanup_hook(thread->env_, environment_hook, thread);
      },
      made.get());
  made->linked_ = true;
  made->self_ = made;
  // Registered after the link: hooks run in reverse order, so the thread stops while the link still exists.
  napi_add_env_cleanup_hook(env, environment_hook, made.get());
  options.aborted = &made->abort_load_;
  try {
    made->post([self = made.get(), options = std::move(options)] { self->open(options); });
  } catch (const std::bad_alloc&) {
    made->close();  // the link would keep the process alive
    throw;
  }
  return made;
}

EngineThread::~EngineThread() {
  abort_load_ = true;
  worker_.reset();
}

void EngineThread::environment_hook(void* self) {
  static_cast<EngineThread*>(self)->environment_ends();
}

// The environment goes away with the engine still open: wait for the step in flight, free everything, let go
// of JavaScript.
void EngineThread::environment_ends() {
  env_ = nullptr;
  abort_load_ = true;
  worker_->stop();
}

void EngineThread::open(EngineOptions options) {
  options.on_progress = [this](size_t done, size_t total) {
    emit([done, total](Napi::Env env, Napi::Function callback) {
      Napi::Object progress = Napi::Object::New(env);
      progress["done"] = static_cast<double>(done);
      progress["total"] = static_cast<double>(total);
      callback.Call({Napi::String::New(env, "progress"), progress});
    });
  };
  try {
    auto opened = std::make_unique<LoadedEngine>(options);
    EngineInfo info = engine_info(*opened);
    engine_ = std::move(opened);
    emit([info = std::move(info)](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::String::New(env, "opened"), to_js(env, info)});
    });
    return;
  } catch (...) {
    try {
      emit([error = current_error()](Napi::Env env, Napi::Function callback) {
        callback.Call({Napi::String::New(env, "failed"), to_js_error(env, error).Value()});
      });
    } catch (const std::bad_alloc&) {  // `closed` alone says so
    }
  }
  end();
}

void EngineThread::post(std::function<void()> job) {
  worker_->submit([this, job = std::move(job)] {
    try {
      job();
    } catch (...) {
      broken_ = std::current_exception();
    }
  });
}

void EngineThread::add(SequenceSpec spec) {
  post([this, spec = std::move(spec)]() mutable {
    if (engine_ == nullptr) return;
    const int32_t id = spec.id;
    try {
      engine_->engine().add(std::move(spec));
    } catch (...) {
      emit([id, error = current_error()](Napi::Env env, Napi::Function callback) {
        Napi::Object rejected = Napi::Object::New(env);
        rejected["id"] = id;
        rejected["error"] = to_js_error(env, error).Value();
        callback.Call({Napi::String::New(env, "rejected"), rejected});
      });
    }
  });
}

void EngineThread::remove(int32_t id) {
  post([this, id] {
    if (engine_ != nullptr) engine_->engine().remove(id);
  });
}

void EngineThread::forget(int64_t session) {
  post([this, session] {
    try {
      if (engine_ != nullptr) engine_->engine().forget_session(session);
    } catch (const std::bad_alloc&) {  // what is kept for it is kept longer
    }
  });
}

void EngineThread::step(std::unique_ptr<StepPlan> plan) {
  post([this, plan = std::shared_ptr<StepPlan>(std::move(plan))] {
    if (engine_ == nullptr) return;
    try {
      run_plan(*plan, {.step = [this](const StepPlan& next) { return step_now(next); },
                       .publish = [this](StepResult result) { publish(std::move(result)); },
                       .wanted = [this] { return worker_->wanted(); }});
    } catch (...) {  // a result found no memory on its way, and somebody waits for it
      send(lost_event);
      throw;
    }
  });
}

void EngineThread::interrupt() {
  post([] {});
}

StepResult EngineThread::step_now(const StepPlan& plan) {
  try {
    if (broken_) std::rethrow_exception(broken_);
    return engine_->engine().step(plan);
  } catch (...) {  // not even the result found memory
    StepResult result;
    result.unhealthy = current_error().what();
    return result;
  }
}

void EngineThread::publish(StepResult result) {
  emit([made = std::make_shared<StepResult>(std::move(result))](Napi::Env env, Napi::Function callback) {
    callback.Call({Napi::String::New(env, "result"), to_js(env, *made)});
  });
}

void EngineThread::check() {
  post([this] {
    if (engine_ == nullptr) return;
    std::string violation;
    try {
      if (broken_) std::rethrow_exception(broken_);
      engine_->engine().check();
    } catch (...) {
      violation = current_error().what();
    }
    emit([violation](Napi::Env env, Napi::Function callback) {
      callback.Call({Napi::String::New(env, "checked"), Napi::String::New(env, violation)});
    });
  });
}

void EngineThread::close() {
  abort_load_ = true;
  worker_->refuse();
}

// Engine thread: when it failed to open, and when it ends. The last thing that is done for JavaScript, and
// nothing in it needs memory.
void EngineThread::end() {
  engine_.reset();
  send(closed_event);
  const std::lock_guard lock(link_mutex_);
  if (!std::exchange(linked_, false)) return;
  link_.Release();
}

void EngineThread::emit(Tell tell) {
  auto event = std::make_unique<Event>(Event{.tell = std::move(tell)});
  if (send(*event)) static_cast<void>(event.release());
}

// True: the event is JavaScript's.
bool EngineThread::send(Event& event) {
  const std::lock_guard lock(link_mutex_);
  return linked_ && link_.NonBlockingCall(&event) == napi_ok;
}

void EngineThread::ref(Napi::Env env) {
  const std::lock_guard lock(link_mutex_);
  if (linked_) link_.Ref(env);
}

void EngineThread::unref(Napi::Env env) {
  const std::lock_guard lock(link_mutex_);
  if (linked_) link_.Unref(env);
}

void EngineThread::call_js(Napi::Env env, Napi::Function callback, std::nullptr_t*, Event* event) {
  const std::unique_ptr<Event> owned(event->lasting ? nullptr : event);
  // Without an environment the queue is only being emptied.
  if (static_cast<napi_env>(env) == nullptr || callback.IsEmpty()) return;
  const Napi::HandleScope scope(env);
  try {
    event->tell(env, callback);
  } catch (const Napi::Error& error) {
    // The listener threw, or the environment (a terminated worker) runs no JavaScript any more and nobody is
    // left to tell: then the macro NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS makes this do nothing.
    error.ThrowAsJavaScriptException();
  } catch (...) {  // the arguments found no memory
    current_js_error(env).ThrowAsJavaScriptException();
  }
}

}  // namespace agentinfer
