#include "tensor/check.h"
#include "text/tokenizer_data.h"
namespace agentinfer {
std::unique_ptr<TokenizerData> load_byte_level(const TokenizerFiles&) {
  fail(ErrorCode::kModelUnsupported, "tokenizer.json: byte-level BPE");
}
}  // namespace agentinfer
