/** The process that holds node-llama-cpp. Its package is resolved from bench/peer, which is installed apart. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

import { peerManifest } from './llama.js'
import type { PeerCalls, PeerOptions, PeerReply, PeerRequest, PeerTrace } from './llama.js'

/** What is used of node-llama-cpp 3. */
interface LlamaSequence {
  clearHistory(): Promise<void>
  /** A token given to `next` takes the place of the one that was yielded. */
  evaluate(tokens: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncGenerator<number, void, number | undefined>
  /** Probabilities are those after the options' sampling, of every token that it leaves. */
  controlledEvaluate(input: (number | [number, { generateNext: { probabilities: true; options: object } }])[]): Promise<({ next: { probabilities?: Map<number, number> } } | undefined)[]>
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>
}
interface LlamaModule {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{ createContext(options: object): Promise<{ getSequence(): LlamaSequence }> }>
  }>
}

const options = JSON.parse(process.argv[2]!) as PeerOptions
const entry = createRequire(peerManifest).resolve('node-llama-cpp')
const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaModule
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: options.threads })
const model = await llama.loadModel({ modelPath: options.gguf, gpuLayers: 0 })
const context = await model.createContext({
  contextSize: options.contextTokens,
  sequences: options.sequences,
  batchSize: 512,
  threads: options.threads,
  flashAttention: true,
})
const sequences = Array.from({ length: options.sequences }, () => context.getSequence())

async function decodeOne(sequence: LlamaSequence, prompt: number[], count: number): Promise<{ first: number; last: number; tokens: number[] }> {
  await sequence.clearHistory()
  const tokens: number[] = []
  let first = 0
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) first = performance.now()
    if (tokens.push(token) === count) break
  }
  return { first, last: performance.now(), tokens }
}

async function replayOne(sequence: LlamaSequence, { prompt, rounds }: PeerTrace, toolMilliseconds: number): Promise<void> {
  await sequence.clearHistory()
  let pending = [...prompt]
  for (const [index, { said, observed }] of rounds.entries()) {
    const writing = sequence.evaluate(pending, { temperature: 0, yieldEogToken: true })
    await writing.next()
    for (const token of said.slice(0, -1)) await writing.next(token)
    await writing.return()
    if (index === rounds.length - 1) return
    if (toolMilliseconds > 0) await new Promise((resolve) => setTimeout(resolve, toolMilliseconds))
    // The last token that was said has not been read yet.
    pending = [said.at(-1)!, ...observed]
  }
}

const calls: PeerCalls = {
  async logprobs(tokens) {
    const [sequence] = sequences
    await sequence!.clearHistory()
    const everything = { temperature: 1, topK: 0, topP: 1, minP: 0 }
    const outputs = await sequence!.controlledEvaluate([...tokens.slice(0, -1), [tokens.at(-1)!, { generateNext: { probabilities: true, options: everything } }]])
    const probabilities = outputs.at(-1)!.next.probabilities!
    const list = Array.from({ length: probabilities.size }, () => 0)
    for (const [token, probability] of probabilities) list[token] = Math.log(probability)
    return list
  },
  async replay(traces, toolMilliseconds) {
    const start = performance.now()
    await Promise.all(traces.map((trace, i) => replayOne(sequences[i]!, trace, toolMilliseconds)))
    return performance.now() - start
  },
  async prefill(tokens) {
    await sequences[0]!.clearHistory()
    const start = performance.now()
    await sequences[0]!.evaluateWithoutGeneratingNewTokens(tokens)
    return performance.now() - start
  },
  async decode(prompts, count) {
    const runs = await Promise.all(prompts.map((prompt, i) => decodeOne(sequences[i]!, prompt, count)))
    const milliseconds = Math.max(...runs.map((run) => run.last)) - Math.max(...runs.map((run) => run.first))
    return { milliseconds, tokens: runs.map((run) => run.tokens) }
  },
}

const reply = (message: PeerReply): void => void process.send?.(message)
process.on('message', (request: PeerRequest) => {
  const call = calls[request.call] as (...args: unknown[]) => Promise<unknown>
  call(...request.args).then(
    (result) => reply({ result }),
    (error: unknown) => reply({ error: String(error) }),
  )
})
reply({ result: undefined })
