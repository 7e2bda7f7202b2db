#include "binding/quantize_task.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "binding/convert.h"
#include "model/quantize.h"
#include "tensor/current_error.h"

namespace agentinfer {
namespace {

struct Progress {
  size_t done = 0, total = 0;
};

class QuantizeTask final : public Napi::AsyncProgressWorker<Progress> {
 public:
  QuantizeTask(Napi::Function on_progress, std::string source, std::string target, int threads,
               std::shared_ptr<std::atomic<bool>> aborted)
      : Napi::AsyncProgressWorker<Progress>(on_progress),
        promise_(Napi::Promise::Deferred::New(Env())),
        source_(std::move(source)),
        target_(std::move(target)),
        threads_(threads),
        aborted_(std::move(aborted)) {}

  Napi::Promise promise() const { return promise_.Promise(); }

 private:
  void Execute(const ExecutionProgress& progress) override {
    QuantizeOptions options;
    options.threads = threads_;
    options.aborted = aborted_.get();
    options.on_progress = [&progress](size_t done, size_t total) {
      const Progress now{done, total};
      progress.Send(&now, 1);
    };
    try {
      result_ = quantize_folder(source_, target_, options);
    } catch (...) {
      const Error error = current_error();
      code_ = error_code_name(error.code());
      SetError(error.what());
    }
  }

  void OnProgress(const Progress* progress, size_t count) override {
    if (count == 0) return;
    const Napi::HandleScope scope(Env());
    const Progress& now = progress[count - 1];
    Callback().Call({Napi::Number::New(Env(), static_cast<double>(now.done)),
                     Napi::Number::New(Env(), static_cast<double>(now.total))});
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    Napi::Object result = Napi::Object::New(Env());
    result["sourceBytes"] = static_cast<double>(result_.source_bytes);
    result["writtenBytes"] = static_cast<double>(result_.written_bytes);
    result["matrices"] = result_.matrices;
    result["files"] = result_.files;
    promise_.Resolve(result);
  }

  void OnError(const Napi::Error& error) override {
    promise_.Reject(to_js_error(Env(), code_, error.Message()).Value());
  }

  Napi::Promise::Deferred promise_;
  std::string source_, target_, code_;
  int threads_;
  std::shared_ptr<std::atomic<bool>> aborted_;
  QuantizeResult result_;
};

}  // namespace

Napi::Value quantize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object options = info[0].As<Napi::Object>();
    const auto aborted = std::make_shared<std::atomic<bool>>(false);
    auto* task =
        new QuantizeTask(info[1].As<Napi::Function>(), string_field(options, "source", ""),
                         string_field(options, "target", ""), int32_field(options, "threads", 0), aborted);
    Napi::Object handle = Napi::Object::New(info.Env());
    handle["done"] = task->promise();
    handle["abort"] =
        Napi::Function::New(info.Env(), [aborted](const Napi::CallbackInfo&) { aborted->store(true); });
    task->Queue();
    return handle;
  });
}

}  // namespace agentinfer
