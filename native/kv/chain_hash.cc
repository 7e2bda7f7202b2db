#include "kv/chain_hash.h"

#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tensor/check.h"

namespace agentinfer {
namespace {

struct Product {
  uint64_t high, low;
};

// The full 128-bit product of two 64-bit words.
Product multiply(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
  __extension__ typedef unsigned __int128 Wide;
  const Wide product = static_cast<Wide>(a) * b;
  return {static_cast<uint64_t>(product >> 64), static_cast<uint64_t>(product)};
#else
  const uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
  const uint64_t low = a0 * b0, middle = a1 * b0 + (low >> 32), other = a0 * b1 + (middle & 0xffffffffu);
  return {a1 * b1 + (middle >> 32) + (other >> 32), (other << 32) | (low & 0xffffffffu)};
#endif
}

uint64_t fold(uint64_t a, uint64_t b) {
  const Product product = multiply(a, b);
  return product.high ^ product.low;
}

uint64_t finish(uint64_t x) {  // the finaliser of SplitMix64: every input bit reaches every output bit
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

ChainHasher::Secret ChainHasher::random_secret() {
  Secret secret;
  // Not std::random_device: linked statically, it would ask for a newer glibc than anything else here.
  if (getentropy(secret.data(), sizeof secret) != 0)
    fail(ErrorCode::kIo, "getentropy: expected ", sizeof secret,
         " random bytes, got: ", std::strerror(errno));
  return secret;
}

ChainHasher::ChainHasher(const Secret& secret) {
  // Whatever was given, e.g. zeros in a test, the words end up spread out and odd.
  for (size_t i = 0; i < secret.size(); ++i)
    secret_[i] = finish(secret[i] + (i + 1) * 0x9e3779b97f4a7c15u) | 1;
}

Hash128 ChainHasher::root(uint64_t salt) const {
  return {fold(salt ^ secret_[0], secret_[1]) ^ secret_[2], finish(salt ^ secret_[3]) + secret_[0]};
}

// Two lanes fold the same words with different secrets: each fold multiplies a word masked by a secret with
// the running state, masked by the next word. A factor of zero would make a lane forget what came before; the
// other lane, which takes the words crosswise, does not.
Hash128 ChainHasher::extend(const Hash128& parent, std::span<const int32_t> tokens) const {
  uint64_t a = parent.high ^ secret_[0], b = parent.low ^ secret_[1];
  size_t i = 0;
  for (; i + 4 <= tokens.size(); i += 4) {
    uint64_t words[2];
    std::memcpy(words, tokens.data() + i, sizeof words);
    a = fold(words[0] ^ secret_[2], words[1] ^ a) + words[1];
    b = fold(words[1] ^ secret_[3], words[0] ^ b) + words[0];
  }
  for (; i < tokens.size(); ++i) {
    const uint64_t word = static_cast<uint32_t>(tokens[i]);
    a = fold(word ^ secret_[2], a ^ secret_[1]) + word;
    b = fold(word ^ secret_[3], b ^ secret_[0]) + word;
  }
  const uint64_t length = tokens.size();
  return {finish(fold(a ^ length, secret_[3]) + b), finish(fold(b ^ length, secret_[2]) ^ a)};
}

}  // namespace agentinfer
