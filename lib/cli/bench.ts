import { existsSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'

import { AgentInferError } from '../errors.js'
import { packageRoot } from '../native.js'

/** What bench/run.ts exports; it is compiled apart, because it uses this package as everybody does. */
interface BenchModule {
  readonly runBench: (argv: readonly string[], command: string) => Promise<number>
}

export function addBench(program: Command): void {
  program
    .command('bench')
    .description('Measure this machine: throughput, latency, serve, agents, draft, sched, ablation; without a case: a list of them')
    .argument('[case]')
    .argument('[options...]')
    .helpOption(false)
    .allowUnknownOption()
    .action(async (_case: string | undefined, _options: string[], _flags: object, command: Command) => {
      const file = path.join(packageRoot, 'dist/bench/run.js')
      if (!existsSync(file)) throw new AgentInferError('ERR_IO', `the benchmarks are not built: expected ${file}; npm run build:bench makes it`)
      const { runBench } = (await import(pathToFileURL(file).href)) as BenchModule
      process.exitCode = await runBench(command.args, 'agentinfer bench')
    })
}
