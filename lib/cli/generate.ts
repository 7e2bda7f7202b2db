import type { Command } from 'commander'

import { Engine } from '../engine/engine.js'
import type { GenerationResponse } from '../engine/request.js'
import type { GenerationStream } from '../engine/stream.js'
import { AgentInferError } from '../errors.js'
import type { EngineOptions, GenerateOptions } from '../options.js'
import { number, progressLine } from './output.js'

interface Flags {
  model?: string
  prompt?: string
  chat?: boolean
  system?: string
  maxTokens?: number
  temperature: number
  topP?: number
  topK?: number
  seed?: number
  stop?: string[]
  device?: EngineOptions['device']
  weights?: EngineOptions['weights']
  threads?: number
  maxContext?: number
  json?: boolean
}

export function addGenerate(program: Command): void {
  program
    .command('generate')
    .description('Stream a completion; the prompt comes from --prompt or standard input')
    .option('--model <folder>', 'checkpoint folder; needed')
    .option('--prompt <text>', 'prompt')
    .option('--chat', 'send the prompt as a user message through the chat template')
    .option('--system <text>', 'system message (with --chat)')
    .option('--max-tokens <n>', 'tokens to generate at most', number)
    .option('--temperature <t>', '0 is greedy', number, 1)
    .option('--top-p <p>', 'keep the fewest most likely tokens whose probabilities sum to this', number)
    .option('--top-k <k>', 'keep the k most likely tokens', number)
    .option('--seed <n>', 'same seed, same output', number)
    .option('--stop <text...>', 'text that ends the output')
    .option('--device <device>', "cpu, npu:0, npu:0,1 (one model over both) or auto: the first NPU, else the CPU")
    .option('--weights <format>', 'bf16 or int8')
    .option('--threads <n>', 'CPU threads', number)
    .option('--max-context <n>', 'tokens of prompt and output together', number)
    .option('--json', 'print the response as JSON, once')
    .action(run)
}

async function run(flags: Flags): Promise<void> {
  const { model } = flags
  // Not commander's: it would say this of a misspelt option as well.
  if (model === undefined) throw new AgentInferError('ERR_INVALID_ARGUMENT', 'expected --model with the folder of a checkpoint')
  if (flags.system !== undefined && flags.chat !== true)
    throw new AgentInferError('ERR_INVALID_ARGUMENT', '--system: expected --chat beside it, for a plain prompt has no system message')
  const prompt = flags.prompt ?? (await readInput())
  const interrupt = new AbortController()
  const onInterrupt = (): void => interrupt.abort(new AgentInferError('ERR_ABORTED', 'interrupted'))
  process.once('SIGINT', onInterrupt)
  const progress = progressLine('loading')
  const engine = await Engine.open({
    ...defined({
      device: flags.device,
      weights: flags.weights,
      threads: flags.threads,
      maxContext: flags.maxContext,
    }),
    model,
    signal: interrupt.signal,
    onProgress: ({ done, total }) => progress.update(done, total),
  }).finally(() => progress.end())
  try {
    const stream = engine.generate({ ...request(flags, prompt), signal: interrupt.signal })
    await print(stream, flags.json === true)
  } finally {
    process.removeListener('SIGINT', onInterrupt)
    await engine.close()
  }
}

function request(flags: Flags, prompt: string): GenerateOptions {
  const system = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
  return {
    ...(flags.chat === true ? { messages: [...system, { role: 'user', content: prompt }] } : { prompt }),
    ...defined({ maxTokens: flags.maxTokens, stop: flags.stop }),
    sampling: {
      temperature: flags.temperature,
      ...defined({ topP: flags.topP, topK: flags.topK, seed: flags.seed }),
    },
  }
}

async function print(stream: GenerationStream, json: boolean): Promise<void> {
  if (json) {
    process.stdout.write(`${JSON.stringify(await stream.response, null, 2)}\n`)
    return
  }
  for await (const delta of stream) process.stdout.write(delta.text)
  process.stdout.write('\n')
  process.stderr.write(`${summary(await stream.response)}\n`)
}

function summary({ usage, timings, finishReason }: GenerationResponse): string {
  const rate = timings.decode > 0 ? ((usage.completionTokens - 1) * 1000) / timings.decode : 0
  return (
    `[${finishReason}] ${usage.promptTokens} prompt tokens (${usage.cachedTokens} cached) in ${timings.prefill.toFixed(0)} ms, ` +
    `${usage.completionTokens} generated at ${rate.toFixed(1)} tokens/s`
  )
}

async function readInput(): Promise<string> {
  if (process.stdin.isTTY) throw new AgentInferError('ERR_INVALID_ARGUMENT', 'expected --prompt, or a prompt on standard input')
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** The entries that are given: an option that is undefined is one that was not asked for. */
function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
