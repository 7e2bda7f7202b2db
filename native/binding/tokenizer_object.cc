#include "binding/tokenizer_object.h"

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "binding/convert.h"
#include "binding/instance.h"
#include "binding/task.h"

namespace agentinfer {
namespace {

using Handle = std::shared_ptr<const Tokenizer>;

struct OwnedSegment {
  std::string text;
  bool parse_special = false;
};

// segments: [{text, special}]
std::vector<OwnedSegment> read_segments(const Napi::Value& value) {
  if (!value.IsArray()) fail(ErrorCode::kInvalidArgument, "segments: expected an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<OwnedSegment> segments;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value item = array[i];
    if (!item.IsObject()) fail(ErrorCode::kInvalidArgument, "segments: expected objects");
    const Napi::Object object = item.As<Napi::Object>();
    segments.push_back({string_field(object, "text", ""), bool_field(object, "special", false)});
  }
  return segments;
}

std::vector<int32_t> encode_segments(const Tokenizer& tokenizer, const std::vector<OwnedSegment>& owned) {
  std::vector<TextSegment> segments;
  for (const OwnedSegment& segment : owned) segments.push_back({segment.text, segment.parse_special});
  std::vector<int32_t> ids;
  tokenizer.encode_segments(segments, {}, ids);
  return ids;
}

Napi::Value maybe_id(Napi::Env env, std::optional<int32_t> id) {
  return id ? static_cast<Napi::Value>(Napi::Number::New(env, *id)) : env.Null();
}

const Handle& handle_of(const Napi::CallbackInfo& info) {
  return *info[0].As<Napi::External<Handle>>().Data();
}

Napi::Value wrap(Napi::Env env, Napi::FunctionReference& constructor, Handle tokenizer) {
  return constructor.New({Napi::External<Handle>::New(env, &tokenizer)});
}

void require_external(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) fail(ErrorCode::kInvalidArgument, "use openTokenizer(folder)");
}

}  // namespace

Napi::Function TokenizerObject::define(Napi::Env env) {
  return DefineClass(env, "NativeTokenizer",
                     {
                         InstanceMethod<&TokenizerObject::encode>("encode"),
                         InstanceMethod<&TokenizerObject::encode_async>("encodeAsync"),
                         InstanceMethod<&TokenizerObject::decode>("decode"),
                         InstanceMethod<&TokenizerObject::detokenizer>("detokenizer"),
                         InstanceMethod<&TokenizerObject::piece>("piece"),
                         InstanceMethod<&TokenizerObject::token_id>("tokenId"),
                         InstanceMethod<&TokenizerObject::facts>("facts"),
                     });
}

TokenizerObject::TokenizerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TokenizerObject>(info) {
  guarded(info.Env(), [&] {
    require_external(info);
    tokenizer_ = handle_of(info);
  });
}

Napi::Value TokenizerObject::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string folder = utf8(info[0], "folder");
    return run_task<Handle>(
        info.Env(), [folder] { return Handle(Tokenizer::open(folder)); },
        [](Napi::Env env, Handle& tokenizer) {
          return wrap(env, Instance::of(env).tokenizer, std::move(tokenizer));
        });
  });
}

Napi::Value TokenizerObject::encode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<int32_t> ids = encode_segments(*tokenizer_, read_segments(info[0]));
    return to_int32_array(info.Env(), ids.data(), ids.size());
  });
}

Napi::Value TokenizerObject::encode_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return run_task<std::vector<int32_t>>(
        info.Env(),
        [tokenizer = tokenizer_, segments = read_segments(info[0])] {
          return encode_segments(*tokenizer, segments);
        },
        [](Napi::Env env, std::vector<int32_t>& ids) -> Napi::Value {
          return to_int32_array(env, ids.data(), ids.size());
        });
  });
}

Napi::Value TokenizerObject::decode(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<int32_t> ids = int32_array(info[0], "ids");
    DecodeOptions options;
    options.skip_special = info[1].IsBoolean() && info[1].As<Napi::Boolean>().Value();
    return Napi::String::New(info.Env(), tokenizer_->decode(ids, options));
  });
}

Napi::Value TokenizerObject::detokenizer(const Napi::CallbackInfo& info) {
  Handle tokenizer = tokenizer_;
  return Instance::of(info.Env())
      .detokenizer.New(
          {Napi::External<Handle>::New(info.Env(), &tokenizer),
           Napi::Boolean::New(info.Env(), info[0].IsBoolean() && info[0].As<Napi::Boolean>().Value())});
}

Napi::Value TokenizerObject::piece(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(),
                             std::string(tokenizer_->piece(info[0].As<Napi::Number>().Int32Value())));
  });
}

Napi::Value TokenizerObject::token_id(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return maybe_id(info.Env(), tokenizer_->token_id(utf8(info[0], "piece"))); });
}

Napi::Value TokenizerObject::facts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  object["vocabSize"] = tokenizer_->vocab_size();
  object["bosId"] = maybe_id(env, tokenizer_->bos_id());
  object["eosId"] = maybe_id(env, tokenizer_->eos_id());
  object["padId"] = maybe_id(env, tokenizer_->pad_id());
  object["unkId"] = maybe_id(env, tokenizer_->unk_id());
  object["addBos"] = tokenizer_->add_bos();
  return object;
}

Napi::Function DetokenizerObject::define(Napi::Env env) {
  return DefineClass(env, "NativeDetokenizer",
                     {
                         InstanceMethod<&DetokenizerObject::push>("push"),
                         InstanceMethod<&DetokenizerObject::flush>("flush"),
                     });
}

DetokenizerObject::DetokenizerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<DetokenizerObject>(info) {
  guarded(info.Env(), [&] {
    require_external(info);
    tokenizer_ = handle_of(info);
    DecodeOptions options;
    options.skip_special = info[1].As<Napi::Boolean>().Value();
    detokenizer_ = std::make_unique<Detokenizer>(*tokenizer_, options);
  });
}

Napi::Value DetokenizerObject::push(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsNumber()) fail(ErrorCode::kInvalidArgument, "id: expected a number");
    std::string text;
    detokenizer_->push(info[0].As<Napi::Number>().Int32Value(), text);
    return Napi::String::New(info.Env(), text);
  });
}

Napi::Value DetokenizerObject::flush(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::String::New(info.Env(), detokenizer_->flush()); });
}

}  // namespace agentinfer
