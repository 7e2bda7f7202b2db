/**
 * Random work on an engine for a while: requests and sessions of random lengths, shared beginnings, forks, aborts, leaving early, slow
 * readers, deadlines, priorities, retention, prefill, errors. What it computes is checked by repeating some of it.
 */
import { AgentInferError } from 'agentinfer'
import type { Engine, GenerationStream, Session } from 'agentinfer'

import type { Random } from './random.js'

export interface WorkloadOptions {
  readonly engine: Engine
  readonly random: Random
  readonly vocabulary: number
  /** Tokens of the engine's context. */
  readonly maxContext: number
  /** Workers that each do one thing after another. */
  readonly workers: number
  /** Asked between two things. */
  readonly goesOn: () => boolean
}

export interface WorkloadResult {
  done: number
  tokens: number
  /** Ends by what ended them: 'stop', 'length', 'abort', or an error's code. */
  readonly ends: Record<string, number>
  /** Requests asked again alone afterwards, and those that were answered differently. */
  repeated: number
  differences: number
}

interface Asked {
  readonly tokens: number[]
  readonly maxTokens: number
  readonly seed: number
  readonly temperature: number
}

const errors = new Set(['ERR_BUSY', 'ERR_DEADLINE', 'ERR_CONTEXT_LENGTH', 'ERR_CLOSED'])

export async function randomWork(options: WorkloadOptions): Promise<WorkloadResult> {
  const result: WorkloadResult = { done: 0, tokens: 0, ends: {}, repeated: 0, differences: 0 }
  const shared = Array.from({ length: 4 }, () => options.random.tokens(options.maxContext >> 2, options.vocabulary))
  const workers = Array.from({ length: options.workers }, () => new Worker(options, shared, result))
  await Promise.all(workers.map((worker) => worker.run()))
  return result
}

class Worker {
  readonly #options: WorkloadOptions
  readonly #shared: readonly number[][]
  readonly #result: WorkloadResult
  #session: Session | undefined

  constructor(options: WorkloadOptions, shared: readonly number[][], result: WorkloadResult) {
    this.#options = options
    this.#shared = shared
    this.#result = result
  }

  async run(): Promise<void> {
    const { random, goesOn } = this.#options
    while (goesOn()) {
      try {
        await (random.next() < 0.5 ? this.#request() : this.#turn())
        this.#result.done += 1
      } catch (error) {
        if (!(error instanceof AgentInferError) || !errors.has(error.code)) throw error
        this.#ended(error.code)
        if (error.code === 'ERR_BUSY') await new Promise((resolve) => setTimeout(resolve, 2))
      }
    }
    this.#session?.release()
  }

  #ended(how: string): void {
    this.#result.ends[how] = (this.#result.ends[how] ?? 0) + 1
  }

  #prompt(): number[] {
    const { random, maxContext, vocabulary } = this.#options
    const beginning = this.#shared[random.integer(0, this.#shared.length - 1)]!
    return [...beginning.slice(0, random.integer(0, beginning.length)), ...random.tokens(random.integer(1, maxContext >> 2), vocabulary)]
  }

  async #request(): Promise<void> {
    const { engine, random } = this.#options
    const asked: Asked = {
      tokens: this.#prompt(), maxTokens: random.integer(1, 24), seed: random.integer(0, 2 ** 31), temperature: random.next() < 0.5 ? 0 : 1,
    }
    const stream = engine.generate({
      tokens: asked.tokens,
      maxTokens: asked.maxTokens,
      ignoreEos: random.next() < 0.8,
      sampling: { seed: asked.seed, temperature: asked.temperature },
      priority: random.integer(0, 2) >> 1,
      tenant: random.next() < 0.2 ? 'other' : '',
      ...(random.next() < 0.1 && { deadline: 0.02 + random.next() * 0.2 }),
    })
    const whole = await this.#read(stream)
    if (whole && random.next() < 0.02) await this.#repeat(asked, (await stream.response).tokens)
  }

  /** Reads at some speed, perhaps not to the end. Returns whether it did. */
  async #read(stream: GenerationStream): Promise<boolean> {
    const { random } = this.#options
    const kind = random.next()
    const leaveAt = kind < 0.2 ? random.integer(1, 12) : Infinity
    if (kind > 0.5) {
      let seen = 0
      for await (const { tokens } of stream) {
        seen += tokens.length
        if (seen >= leaveAt) break
        if (kind > 0.9) await new Promise((resolve) => setTimeout(resolve, 5))
      }
    } else if (leaveAt < Infinity) {
      for await (const _delta of stream) break
    }
    const { finishReason, tokens } = await stream.response
    this.#ended(finishReason)
    this.#result.tokens += tokens.length
    return finishReason === 'length'
  }

  /** With another tenant nothing is found in the cache. */
  async #repeat({ tokens, maxTokens, seed, temperature }: Asked, expected: readonly number[]): Promise<void> {
    const { engine } = this.#options
    const again = await engine.generate({ tokens, maxTokens, ignoreEos: true, sampling: { seed, temperature }, tenant: 'again' }).response
    this.#result.repeated += 1
    if (again.tokens.join() !== expected.join()) this.#result.differences += 1
  }

  async #turn(): Promise<void> {
    const { engine, random, vocabulary, maxContext } = this.#options
    const session = (this.#session ??= engine.session({ tenant: random.next() < 0.2 ? 'other' : '' }))
    await session.append({ tokens: session.length === 0 ? this.#prompt() : random.tokens(random.integer(1, 24), vocabulary) })
    if (random.next() < 0.2) await session.prefill()
    await this.#read(session.generate({ maxTokens: random.integer(1, 16), sampling: { seed: random.integer(0, 1000) } }))
    if (random.next() < 0.3) session.retain({ ttl: random.next(), retentionClass: random.integer(0, 3) })
    if (random.next() < 0.3) session.activity(random.next() < 0.5 ? { kind: 'tool', tool: 'search' } : { kind: 'idle' })
    if (random.next() < 0.2) {
      const fork = session.fork()
      await this.#read(fork.generate({ maxTokens: 4, sampling: { seed: 1 } })).finally(() => fork.release())
    }
    if (session.length < (maxContext * 3) >> 2 && random.next() < 0.8) return
    session.release()
    this.#session = undefined
  }
}
