// Host callbacks, data types.

#include <pthread.h>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <map>

#include "abi/acl_rt.h"
#include "control/api.h"
#include "control/config.h"
#include "runtime/stream.h"
#include "runtime/worker_clock.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;

struct Report {
  aclrtCallback fn;
  void* data;
  std::shared_ptr<std::atomic<bool>> done;
};

// Callbacks wait here for the thread that subscribed to their stream.
struct Mailboxes {
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<Stream*, uint64_t> subscriber;          // guarded by mutex, as below
  std::map<uint64_t, std::deque<Report>> pending;  // by thread
};

Mailboxes& mailboxes() {
  static auto* instance = new Mailboxes;
  return *instance;
}

void deliver(Stream& stream, aclrtCallback fn, void* data, bool block) {
  auto done = std::make_shared<std::atomic<bool>>(false);
  {
    Mailboxes& m = mailboxes();
    const std::lock_guard lock(m.mutex);
    const auto found = m.subscriber.find(&stream);
    if (found == m.subscriber.end())
      throw TaskFault{ACL_ERROR_RT_STREAM_NO_CB_REG, "unsubscribed before the callback ran"};
    m.pending[found->second].push_back({fn, data, done});
    m.arrived.notify_all();
  }
  if (block)
    stream.block_until([&] { return done->load(); }, kForeverMs, ACL_ERROR_RT_REPORT_TIMEOUT,
                       "a host callback");
}

}  // namespace

extern "C" {

aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream) {
  return api("aclrtSubscribeReport", args(threadId, stream), [&] {
    Stream& s = any_stream(stream);
    Mailboxes& m = mailboxes();
    const std::lock_guard lock(m.mutex);
    require(m.subscriber.try_emplace(&s, threadId).second, ACL_ERROR_RT_STREAM_SUBSCRIBE,
            "the stream is subscribed");
    m.pending.try_emplace(threadId);
  });
}

aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream) {
  return api("aclrtUnSubscribeReport", args(threadId, stream), [&] {
    Stream& s = any_stream(stream);
    Mailboxes& m = mailboxes();
    const std::lock_guard lock(m.mutex);
    const auto found = m.subscriber.find(&s);
    require(found != m.subscriber.end() && found->second == threadId, ACL_ERROR_RT_THREAD_SUBSCRIBE,
            "not subscribed");
    m.subscriber.erase(found);
  });
}

aclError aclrtProcessReport(int32_t timeout) {
  return api("aclrtProcessReport", args(timeout), [&] {
    require(timeout == -1 || timeout > 0, kNull, "timeout must be -1 or positive, is ", timeout);
    const auto self = static_cast<uint64_t>(pthread_self());
    demand_progress();
    Mailboxes& m = mailboxes();
    std::unique_lock lock(m.mutex);
    const auto box = m.pending.find(self);
    require(box != m.pending.end(), ACL_ERROR_RT_THREAD_SUBSCRIBE, "this thread has no subscription");
    const auto ready = [&] { return !box->second.empty(); };
    if (timeout < 0)
      m.arrived.wait(lock, ready);
    else if (!m.arrived.wait_until(
                 lock, std::chrono::system_clock::now() + std::chrono::milliseconds(timeout), ready))
      decline(ACL_ERROR_RT_REPORT_TIMEOUT, "nothing arrived");
    while (!box->second.empty()) {
      const Report report = box->second.front();
      box->second.pop_front();
      lock.unlock();
      report.fn(report.data);
      *report.done = true;
      lock.lock();
    }
  });
}

aclError aclrtLaunchCallback(aclrtCallback fn, void* userData, aclrtCallbackBlockType blockType,
                             aclrtStream stream) {
  return api("aclrtLaunchCallback", args(fn != nullptr, userData, blockType, stream), [&] {
    require(fn, kNull, "fn is null");
    Stream& s = own_stream(stream);
    {
      Mailboxes& m = mailboxes();
      const std::lock_guard lock(m.mutex);
      require(m.subscriber.contains(&s), ACL_ERROR_RT_STREAM_NO_CB_REG, "the stream is not subscribed");
    }
    const bool block = blockType == ACL_CALLBACK_BLOCK;
    submit(s,
           make_task("callback", TaskKind::kCallback, [=](Stream& at) { deliver(at, fn, userData, block); }));
  });
}

aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void* args_) {
  return api("aclrtLaunchHostFunc", args(stream, fn != nullptr, args_), [&] {
    require(fn, kNull, "fn is null");
    submit(own_stream(stream), make_task("host function", TaskKind::kCallback, [=](Stream&) { fn(args_); }));
  });
}

size_t aclDataTypeSize(aclDataType dataType) {
  switch (dataType) {
    case ACL_DT_UNDEFINED:
    case ACL_STRING:
      return 0;
    case ACL_INT8:
    case ACL_UINT8:
    case ACL_BOOL:
    case ACL_INT4:
    case ACL_UINT1:
      return 1;
    case ACL_FLOAT16:
    case ACL_BF16:
    case ACL_INT16:
    case ACL_UINT16:
      return 2;
    case ACL_FLOAT:
    case ACL_INT32:
    case ACL_UINT32:
    case ACL_COMPLEX32:
      return 4;
    case ACL_COMPLEX128:
      return 16;
    case ACL_HIFLOAT8:
    case ACL_FLOAT8_E5M2:
    case ACL_FLOAT8_E4M3FN:
    case ACL_FLOAT8_E8M0:
      return 1;
    default:
      return 8;
  }
}

// Not IEEE for specials: an exponent of all ones is read as one more binade.
float aclFloat16ToFloat(aclFloat16 value) {
  const int sign = value >> 15, exponent = value >> 10 & 31, mantissa = value & 1023;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                        : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  return sign ? -magnitude : magnitude;
}

aclFloat16 aclFloatToFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<aclFloat16>(bits >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) return static_cast<aclFloat16>(sign | 0x7bff);  // saturates, NaN too
  if (magnitude < std::ldexp(1.0f, -14))
    return static_cast<aclFloat16>(sign | static_cast<aclFloat16>(std::nearbyint(std::ldexp(magnitude, 24))));
  uint32_t half = (bits & 0x7fffffff) - (112u << 23);
  half += 0xfff + (half >> 13 & 1);
  return static_cast<aclFloat16>(sign | half >> 13);
}

}  // extern "C"
