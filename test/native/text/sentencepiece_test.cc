// SentencePiece BPE against sentencepiece itself, on the texts of test/fixtures/tokenizers/corpus.py.

#include "reference.h"

using namespace agentinfer;

TEST("ids and texts equal the reference with openPangu's kind of files") {
  reference::check_all("pangu", 2000);
}
TEST("ids and texts equal the reference with nmt_nfkc, a dummy prefix and unused pieces") {
  reference::check_all("nfkc", 2000);
}

CHECK_MAIN
