// Symbols of a loaded library cannot be taken away from dlsym through any API, so the entries of its dynamic
// symbol table are blanked in this process's private copy of the page, before the caller of dlopen gets the
// handle.

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "control/config.h"

namespace emu {
namespace {

struct Tables {
  ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* gnu_hash = nullptr;
};

Tables tables_of(const link_map* library) {
  Tables t;
  for (const ElfW(Dyn)* entry = library->l_ld; entry->d_tag != DT_NULL; ++entry) {
    const auto value = entry->d_un.d_ptr;  // glibc has already relocated these
    if (entry->d_tag == DT_SYMTAB) t.symbols = reinterpret_cast<ElfW(Sym)*>(value);
    if (entry->d_tag == DT_STRTAB) t.names = reinterpret_cast<const char*>(value);
    if (entry->d_tag == DT_GNU_HASH) t.gnu_hash = reinterpret_cast<const uint32_t*>(value);
  }
  return t;
}

// The GNU hash table has no count: the last chain's end tells it.
uint32_t symbol_count(const uint32_t* hash) {
  const uint32_t buckets = hash[0], first = hash[1], bloom = hash[2];
  const uint32_t* bucket = hash + 4 + bloom * (sizeof(ElfW(Addr)) / 4);
  const uint32_t* chain = bucket + buckets;
  uint32_t last = 0;
  for (uint32_t i = 0; i < buckets; ++i) last = std::max(last, bucket[i]);
  if (last < first) return first;
  while (!(chain[last - first] & 1)) ++last;
  return last + 1;
}

void blank(ElfW(Sym) & symbol) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(&symbol) & ~(page - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(&symbol + 1);
  void* at = reinterpret_cast<void*>(begin);
  if (mprotect(at, end - begin, PROT_READ | PROT_WRITE) != 0) return;
  symbol.st_shndx = SHN_UNDEF;
  symbol.st_value = 0;
  mprotect(at, end - begin, PROT_READ);
}

}  // namespace

void hide_symbols(const void* inside) {
  Dl_info info{};
  link_map* library = nullptr;
  if (!dladdr1(inside, &info, reinterpret_cast<void**>(&library), RTLD_DL_LINKMAP) || !library) return;
  const Tables t = tables_of(library);
  if (!t.symbols || !t.names || !t.gnu_hash) return;
  for (uint32_t i = t.gnu_hash[1], n = symbol_count(t.gnu_hash); i < n; ++i) {
    ElfW(Sym)& symbol = t.symbols[i];
    if (symbol.st_shndx != SHN_UNDEF && symbol_hidden(t.names + symbol.st_name)) blank(symbol);
  }
}

}  // namespace emu
