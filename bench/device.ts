/** What a case's engines run on: `--device` of every case, told to its process by the environment. */
export const device = process.env['AGENTINFER_BENCH_DEVICE'] ?? 'cpu'

/** Limits of this machine, peers and targets are the CPU's; so are blocks of a size of one's own and f32 KV. */
export const onCpu = device === 'cpu'

/** Options of an engine that hold on the CPU alone: an NPU has its own. */
export function cpuOnly<T extends object>(options: T): Partial<T> {
  return onCpu ? options : {}
}
