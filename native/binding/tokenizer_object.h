#pragma once
// `NativeTokenizer` in lib/native.ts. Opening, and encoding more than a few kilobytes, run on a thread of the
// pool and give a promise; short texts are encoded at once.

#include <napi.h>

#include <memory>

#include "text/tokenizer.h"

namespace agentinfer {

class TokenizerObject : public Napi::ObjectWrap<TokenizerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TokenizerObject(const Napi::CallbackInfo& info);

  // openTokenizer(folder): Promise<NativeTokenizer>
  static Napi::Value open(const Napi::CallbackInfo& info);

 private:
  Napi::Value encode(const Napi::CallbackInfo& info);
  Napi::Value encode_async(const Napi::CallbackInfo& info);
  Napi::Value decode(const Napi::CallbackInfo& info);
  Napi::Value detokenizer(const Napi::CallbackInfo& info);
  Napi::Value piece(const Napi::CallbackInfo& info);
  Napi::Value token_id(const Napi::CallbackInfo& info);
  Napi::Value facts(const Napi::CallbackInfo& info);

  std::shared_ptr<const Tokenizer> tokenizer_;
};

// Streaming decoder: push(Int32Array) -> string, flush() -> string.
class DetokenizerObject : public Napi::ObjectWrap<DetokenizerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DetokenizerObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value push(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Detokenizer> detokenizer_;
};

}  // namespace agentinfer
