// Byte-level BPE against Hugging Face tokenizers, on the texts of test/fixtures/tokenizers/corpus.py.

#include "reference.h"

using namespace agentinfer;

TEST("ids and texts equal the reference with Llama 3's kind of file") {
  reference::check_all("llama3", 2000);
}
TEST("ids and texts equal the reference with Qwen's kind of file") {
  reference::check_all("qwen", 2000);
}

CHECK_MAIN
