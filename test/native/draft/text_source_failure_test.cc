// A text whose builder runs out of memory: nobody reads what is half built, and nothing hangs.

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "check.h"
#include "draft/text_source.h"

using namespace agentinfer;

namespace {
std::atomic<bool> pages_fail = false;
constexpr size_t kPage = 16384;  // the automaton's states come in larger ones
}  // namespace

// The whole program's operator new: one whose large pieces can be told to fail. That of arrays too, which a
// sanitizer would replace by its own. Not inlined: GCC would see malloc's memory freed by another name.
[[gnu::noinline]] void* operator new(size_t size) {
  void* memory = size >= kPage && pages_fail ? nullptr : std::malloc(size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new[](size_t size) {
  return operator new(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}

TEST("a text that memory ran out for takes and gives nothing more, and its builder goes on") {
  Builder builder;
  const auto failing = std::make_shared<TextSource>(&builder);
  const auto other = std::make_shared<TextSource>(&builder);
  std::vector<int32_t> tokens(1500);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  pages_fail = true;
  failing->append(tokens);
  builder.drain();
  pages_fail = false;
  CHECK_EQ(builder.failures().count, uint64_t{1});
  CHECK(failing->failed());
  CHECK(!failing->try_read());
  CHECK(!failing->read());

  failing->append(tokens);
  failing->append(std::vector<int32_t>{1, 2, 3});
  failing->settle();
  other->append(tokens);
  builder.drain();
  CHECK_EQ(builder.failures().count, uint64_t{1});
  CHECK(!failing->try_read());
  CHECK(failing->bytes() > 0);
  CHECK(!other->failed());
  CHECK(other->read().complete());
  CHECK_EQ(other->read().automaton().size(), uint32_t{1500});
}

CHECK_MAIN
