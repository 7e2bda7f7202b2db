/**
 * Transcripts with the repetition that agents have, as token ids from seeds. An agent of a run: a system prompt with tool schemas, then
 * rounds of saying (new words, phrases of the trade, quotes of what was read, a tool call in a fixed frame) and observing (a page, which
 * other agents of the run meet too). Runs on the same topic share phrases and pages. Words follow Zipf's law.
 */
export interface TraceRound {
  readonly said: readonly number[]
  readonly observed: readonly number[]
}

export interface AgentTrace {
  readonly run: string
  readonly query: string
  readonly prompt: readonly number[]
  readonly rounds: readonly TraceRound[]
}

export interface TraceOptions {
  readonly seed: number
  readonly runs: number
  /** Of each run; they work side by side. */
  readonly agents: number
  readonly rounds: number
  readonly vocabulary: number
}

class Words {
  #state: number
  readonly #vocabulary: number

  constructor(seed: number, vocabulary: number) {
    this.#state = seed >>> 0
    this.#vocabulary = vocabulary
  }

  /** In [0, 1). (Mulberry32.) */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  below(count: number): number {
    return Math.floor(this.next() * count)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  /** Zipf with exponent 1 over the ids behind the special ones; neighbours in rank are not neighbours in id. */
  word(): number {
    const rank = Math.floor(Math.exp(this.next() * Math.log(this.#vocabulary - 10)))
    return 10 + ((rank * 40503) % (this.#vocabulary - 10))
  }

  words(count: number): number[] {
    return Array.from({ length: count }, () => this.word())
  }
}

interface Topic {
  readonly phrases: number[][]
  readonly pages: number[][]
}

export function agentTraces({ seed, runs, agents, rounds, vocabulary }: TraceOptions): AgentTrace[] {
  const words = new Words(seed, vocabulary)
  const prompt = words.words(600)
  const frames = Array.from({ length: 5 }, () => words.words(10 + words.below(10)))
  const topics = Array.from({ length: 2 }, (): Topic => ({
    phrases: Array.from({ length: 50 }, () => words.words(3 + words.below(10))),
    pages: Array.from({ length: 24 }, () => words.words(120 + words.below(200))),
  }))
  return Array.from({ length: runs }, (_, run) => {
    const topic = run % topics.length
    return Array.from({ length: agents }, (_unused, agent): AgentTrace => {
      const task = words.words(30)
      const history = [...prompt, ...task]
      const made: TraceRound[] = []
      for (let i = 0; i < rounds; ++i) {
        const round = oneRound(words, topics[topic]!, frames, history)
        history.push(...round.said, ...round.observed)
        made.push(round)
      }
      return { run: `run ${run}`, query: `topic ${topic} question ${run} part ${agent}`, prompt: [...prompt, ...task], rounds: made }
    })
  }).flat()
}

function quote(words: Words, from: readonly number[], length: number): readonly number[] {
  const begin = words.below(from.length)
  return from.slice(begin, begin + length)
}

function oneRound(words: Words, topic: Topic, frames: readonly number[][], history: readonly number[]): TraceRound {
  const said: number[] = []
  for (let sentences = 3 + words.below(5); sentences > 0; --sentences) {
    if (words.next() < 0.35) said.push(...words.pick(topic.phrases))
    if (words.next() < 0.35) said.push(...quote(words, history, 8 + words.below(40)))
    said.push(...words.words(4 + words.below(14)))
  }
  const frame = words.pick(frames)
  said.push(...frame.slice(0, 6), ...quote(words, history, 4 + words.below(12)), ...words.words(2 + words.below(4)), ...frame.slice(6))
  const page = words.next() < 0.6 ? words.pick(topic.pages) : words.words(120 + words.below(200))
  return { said, observed: [...frames[0]!, ...page] }
}

/** Text in which nothing repeats but by chance. */
export function randomText(seed: number, count: number, vocabulary: number): number[] {
  const words = new Words(seed, vocabulary)
  return Array.from({ length: count }, () => 10 + words.below(vocabulary - 10))
}
