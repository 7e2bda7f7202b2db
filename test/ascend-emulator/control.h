#pragma once
// Control and inspection of the emulator, in C, for tests that have loaded its libraries: the functions are
// found with dlsym on any of the four handles. None of them exists in CANN. Devices are user-visible numbers.
// All calls may be made from any thread at any time. The same commands exist as environment variables and as
// lines on a socket (README.md).

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct EmuCounters {
  uint64_t launches;       // kernels put on a stream by phase 2 outside of a capture
  uint64_t graph_replays;  // aclmdlRIExecute(Async)
  uint64_t graph_kernels;  // kernels run by replays
  uint64_t task_updates;   // tasks re-parameterised between TaskUpdateBegin and End
  uint64_t phase1;         // ...GetWorkspaceSize calls
  uint64_t phase2;
  uint64_t h2d_copies, h2d_bytes;
  uint64_t d2h_copies, d2h_bytes;
  uint64_t d2d_copies, d2d_bytes;
  uint64_t pageable_copies;  // asynchronous copies that had to run synchronously
  uint64_t memsets, memset_bytes;
  uint64_t event_records, event_waits;
  uint64_t stream_syncs, event_syncs, device_syncs, queries;
  uint64_t collectives, collective_bytes;  // once per rank; bytes of the send buffer
  uint64_t device_allocs, device_frees, host_allocs, host_frees;
  uint64_t kernel_read_bytes, kernel_write_bytes;  // operand bytes of every kernel run, eager or replayed
  uint64_t kernel_flops;  // multiply and add counted as two; matrix products and attention
} EmuCounters;

typedef struct EmuLive {  // objects that exist now
  uint64_t device_blocks, device_bytes, host_blocks, host_bytes;
  uint64_t tensors, executors, streams, events, contexts, graphs, comms, reservations, physical_blocks;
} EmuLive;

void emu_counters(EmuCounters* out);
void emu_reset_counters(void);
void emu_live(EmuLive* out);
// Calls of one ABI function, and kernels it ran with their operand bytes (out pointers may be null).
uint64_t emu_calls(const char* function);
void emu_op_usage(const char* op, uint64_t* runs, uint64_t* bytes, uint64_t* flops);

// Violations: rules broken by the caller. The text names the call, its arguments and the rule.
uint64_t emu_violation_count(void);
size_t emu_violation(uint64_t index, char* text,
                     size_t size);  // returns the full length; 0 when there is none
void emu_clear_violations(void);
void emu_abort_on_violation(int on);
// Rules that may be switched off by name (README.md lists them). Returns 0 for an unknown name.
int emu_set_rule(const char* rule, int on);

// Faults. `nth` counts from now, 1 = the next.
void emu_fail_call(const char* function, uint64_t nth, int code,
                   int repeat);     // code returned without doing anything
void emu_fail_alloc(uint64_t nth);  // 207001 from the n-th allocation of device or pinned memory
void emu_fail_task(int device, uint64_t nth,
                   int code);  // the n-th task run by the device fails (e.g. 507015)
void emu_lose_device(int device,
                     int code);  // 507010 ...: every later call and task of the device fails with it
void emu_restore_device(int device);
void emu_hang_task(int device, uint64_t nth);   // the n-th task run by the device never ends
void emu_hang_collective(uint64_t nth);         // the n-th collective of the process never completes
void emu_set_comm_error(void* comm, int code);  // what HcclGetCommAsyncError reports
void emu_clear_faults(void);                    // removes faults not yet hit and lets hung tasks go on

// Scheduling. A held stream runs nothing until released. Lazy: a task runs only when somebody waits or asks
// for it.
void emu_hold_stream(void* stream);
void emu_release_stream(void* stream);
void emu_set_lazy(int on);
void emu_set_task_delay_us(uint64_t microseconds);
// Milliseconds: first collective of a kind (HCCL_CONNECT_TIMEOUT), waiting for peers (HCCL_EXEC_TIMEOUT), an
// event wait on the device, a hung task. 0 leaves a value as it is.
void emu_set_timeouts_ms(uint64_t connect, uint64_t exec, uint64_t event_wait, uint64_t task);

// Limits: "streams", "events" per device; "hbm_bytes" per device (before the device's first allocation).
int emu_set_limit(const char* name, uint64_t value);

// Test access to device memory, which the host may not touch. 0 on success; -1 when the range is not live.
int emu_peek(const void* device_ptr, void* out, size_t bytes);
int emu_poke(void* device_ptr, const void* in, size_t bytes);

// One command of the socket's language; the answer is JSON. Returns the full length.
size_t emu_command(const char* line, char* answer, size_t size);

#ifdef __cplusplus
}
#endif
