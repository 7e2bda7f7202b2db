#pragma once
// One piece of work on a thread of Node's pool, as a promise.

#include <napi.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "binding/convert.h"
#include "tensor/current_error.h"

namespace agentinfer {

template <typename Result>
class Task final : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result()>;
  using Convert = std::function<Napi::Value(Napi::Env, Result&)>;
  Task(Napi::Env env, Work work, Convert convert)
      : Napi::AsyncWorker(env),
        promise_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        convert_(std::move(convert)) {}

  Napi::Promise promise() const { return promise_.Promise(); }

 private:
  // On a pool thread: no JavaScript value may be touched here.
  void Execute() override {
    try {
      result_ = work_();
    } catch (...) {
      const Error error = current_error();
      code_ = error_code_name(error.code());
      SetError(error.what());
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    try {
      promise_.Resolve(convert_(Env(), *result_));
    } catch (const Napi::Error& error) {
      promise_.Reject(error.Value());
    } catch (...) {  // the result found no memory
      promise_.Reject(current_js_error(Env()).Value());
    }
  }
  void OnError(const Napi::Error& error) override {
    promise_.Reject(to_js_error(Env(), code_, error.Message()).Value());
  }

  Napi::Promise::Deferred promise_;
  Work work_;
  Convert convert_;
  std::optional<Result> result_;
  std::string code_;
};

// Starts the work; the task deletes itself.
template <typename Result>
Napi::Value run_task(Napi::Env env, typename Task<Result>::Work work,
                     typename Task<Result>::Convert convert) {
  auto* task = new Task<Result>(env, std::move(work), std::move(convert));
  const Napi::Promise promise = task->promise();
  task->Queue();
  return promise;
}

}  // namespace agentinfer
