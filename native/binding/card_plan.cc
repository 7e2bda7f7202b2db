#include "binding/card_plan.h"

#include <string>

#include "binding/convert.h"
#include "binding/result.h"
#include "model/config.h"
#include "model/memory_plan.h"

namespace agentinfer {

Napi::Value card_plan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string text = utf8(info[0], "config");
    const Napi::Object options = info[1].As<Napi::Object>();
    CardRequest request;
    request.ranks = int32_field(options, "tensorParallel", request.ranks);
    request.int8 = string_field(options, "weights", "bf16") == "int8";
    request.context = integer_field(options, "context", request.context);
    const ModelConfig config = parse_model_config(text, "");
    const CardPlan card = plan_card(config, request);
    Napi::Object object = Napi::Object::New(info.Env());
    object["config"] = to_js(info.Env(), config);
    object["plan"] = to_js(info.Env(), card.plan);
    object["cardBytes"] = static_cast<double>(request.card_bytes);
    object["context"] = static_cast<double>(card.context);
    object["kvTokens"] = static_cast<double>(card.kv_tokens);
    object["contexts"] = static_cast<double>(card.contexts);
    object["missing"] = static_cast<double>(card.missing);
    return object;
  });
}

}  // namespace agentinfer
