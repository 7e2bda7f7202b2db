// Fetching weights ahead of their use (Fetch). Included inside an unnamed namespace.
//
// Fetch::kFirst: a core of Intel's reads memory fastest when it asks for two pages in turn: its own
// prefetcher follows each of them, and while it starts over on one the other goes on (a tenth more bytes per
// second on Cascade Lake than page after page). So weights are used in their order, block by block, while the
// next block is fetched, its two halves in turn. Two blocks fit in the first cache beside the activations.
//
// Fetch::kSecond: a core of AMD's has few entries for misses of its first cache, and one of two streams stops
// its prefetchers. So the stream stays one, and what is asked for goes to the second cache.
//
// What only prefetches must be inlined: in GCC's eyes it has no effect, and calls of it are deleted.

constexpr int64_t kFetchBlock = 8192;
constexpr int64_t kLineBytes = 64;

// The lines of a block, from an even one on, in the order of fetching.
class FetchLines {
 public:
  FetchLines(const void* block, int64_t index)
      : at_(static_cast<const char*>(block) + (index >> 1) * kLineBytes), other_(at_ + kFetchBlock / 2) {}
  [[gnu::always_inline]] inline void next() {
    __builtin_prefetch(at_);
    const char* after = at_ + kLineBytes;
    at_ = other_;
    other_ = after;
  }

 private:
  const char *at_, *other_;
};

// While memory is read from `base` on, kStep bytes after the other, fetches as much of what lies a block
// ahead each time.
template <int64_t kStep, Fetch kFetch>
class FetchAhead {
 public:
  explicit FetchAhead(const void* base)
      : base_(static_cast<const char*>(base)), lines_(base_ + kFetchBlock, 0) {}
  [[gnu::always_inline]] inline void step() {
    static_assert(kStep % kLineBytes == 0 && kFetchBlock % kStep == 0);
    if (kFetch == Fetch::kSecond) return fetch_to_second();
    if ((offset_ & (kFetchBlock - 1)) == 0) lines_ = FetchLines(base_ + offset_ + kFetchBlock, 0);
    offset_ += kStep;
#pragma GCC unroll 4
    for (int64_t line = 0; line < kStep; line += kLineBytes) lines_.next();
  }

 private:
  [[gnu::always_inline]] inline void fetch_to_second() {
#pragma GCC unroll 4
    for (int64_t line = 0; line < kStep; line += kLineBytes)
      __builtin_prefetch(base_ + offset_ + kFetchBlock + line, 0, 2);
    offset_ += kStep;
  }

  const char* base_;
  int64_t offset_ = 0;
  FetchLines lines_;
};
