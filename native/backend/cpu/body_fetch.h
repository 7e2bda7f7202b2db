// Fetching weights ahead of their use. Included inside an unnamed namespace.
//
// A core reads memory fastest when it asks for two pages in turn: its own prefetcher follows each of them,
// and while it starts over on one the other goes on (a tenth more bytes per second on Cascade Lake than page
// after page). So weights are used in their order, block by block, while the next block is fetched, its two
// halves in turn. Two blocks fit in the first cache beside the activations.
//
// What only prefetches must be inlined: in GCC's eyes it has no effect, and calls of it are deleted.

constexpr int64_t kFetchBlock = 8192;
constexpr int64_t kLineBytes = 64;

// Line `index` of a block in the order of fetching.
[[gnu::always_inline]] inline void fetch_line(const void* block, int64_t index) {
  __builtin_prefetch(static_cast<const char*>(block) + (index & 1) * (kFetchBlock / 2) +
                     (index >> 1) * kLineBytes);
}

// Called for every kStep bytes at `offset` that are read from `base` on, fetches as much of the next block.
template <int64_t kStep>
[[gnu::always_inline]] inline void fetch_ahead(const void* base, int64_t offset) {
  const int64_t inside = offset & (kFetchBlock - 1);
  if (kStep < kLineBytes && inside % kLineBytes != 0) return;
  const char* next = static_cast<const char*>(base) + (offset - inside + kFetchBlock);
#pragma GCC unroll 8
  for (int64_t line = 0; line < (kStep + kLineBytes - 1) / kLineBytes; ++line)
    fetch_line(next, inside / kLineBytes + line);
}
