/** node-llama-cpp in a process of its own, driven by messages; the other half is llama_process.ts. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface PeerOptions {
  readonly gguf: string
  readonly threads: number
  readonly contextTokens: number
  readonly sequences: number
}

/** An agent's turns as token ids: what it reads first, then what it says and what it reads of it, in turn; it ends with what it says. */
export interface PeerTrace {
  readonly prompt: readonly number[]
  readonly rounds: readonly { readonly said: readonly number[]; readonly observed: readonly number[] }[]
}

export interface PeerCalls {
  /** Natural logarithms of the probabilities of each token of the vocabulary to come after `tokens`. */
  logprobs(tokens: number[]): Promise<number[]>
  /**
   * All at once, each on a sequence of its own that keeps its KV over the turns; what the model says is replaced by the trace, token by
   * token. Milliseconds until the last has ended.
   */
  replay(traces: readonly PeerTrace[], toolMilliseconds: number): Promise<number>
  /** Milliseconds until all tokens are computed. */
  prefill(tokens: number[]): Promise<number>
  /** Greedy; every prompt is a sequence of its own, all at once. Milliseconds from everybody's first token to everybody's last, and the tokens. */
  decode(prompts: number[][], count: number): Promise<{ milliseconds: number; tokens: number[][] }>
}

export type PeerRequest = { [Name in keyof PeerCalls]: { call: Name; args: Parameters<PeerCalls[Name]> } }[keyof PeerCalls]
export type PeerReply = { result: unknown } | { error: string }

export const peerManifest = fileURLToPath(new URL('../../../bench/peer/package.json', import.meta.url))

/** Whether bench/peer was installed. */
export function peerInstalled(): boolean {
  return existsSync(fileURLToPath(new URL('../../../bench/peer/node_modules/node-llama-cpp', import.meta.url)))
}

export class LlamaPeer implements PeerCalls {
  readonly #child: ChildProcess
  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(options: PeerOptions): Promise<LlamaPeer> {
    const peer = new LlamaPeer(fork(fileURLToPath(new URL('llama_process.js', import.meta.url)), [JSON.stringify(options)]))
    await peer.#reply()
    return peer
  }

  async logprobs(tokens: number[]): Promise<number[]> {
    return (await this.#call({ call: 'logprobs', args: [tokens] })) as number[]
  }

  async replay(traces: readonly PeerTrace[], toolMilliseconds: number): Promise<number> {
    return (await this.#call({ call: 'replay', args: [traces, toolMilliseconds] })) as number
  }

  async prefill(tokens: number[]): Promise<number> {
    return (await this.#call({ call: 'prefill', args: [tokens] })) as number
  }

  async decode(prompts: number[][], count: number): Promise<{ milliseconds: number; tokens: number[][] }> {
    return (await this.#call({ call: 'decode', args: [prompts, count] })) as { milliseconds: number; tokens: number[][] }
  }

  stop(): void {
    this.#child.kill()
  }

  #call(request: PeerRequest): Promise<unknown> {
    const reply = this.#reply()
    this.#child.send(request)
    return reply
  }

  #reply(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`node-llama-cpp ended with code ${code}`))
      this.#child.once('exit', ended)
      this.#child.once('message', (reply: PeerReply) => {
        this.#child.removeListener('exit', ended)
        if ('error' in reply) reject(new Error(reply.error))
        else resolve(reply.result)
      })
    })
  }
}
