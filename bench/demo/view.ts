/** Shows a demo's events: plain lines, or with colours and a line of progress where there is a terminal. */
import { describeCall } from 'agentinfer'
import type { AgentEvent } from 'agentinfer'

import type { Figures, Progress } from '../research-world/arena.js'
import type { BatchName, DemoEvent } from './events.js'

export interface Screen {
  write(text: string): void
  /** Colours, and lines that are written over. */
  readonly tty: boolean
  /** Characters. */
  readonly columns: number
}

const styles = { dim: 2, bold: 1, small: 36, large: 35, good: 32, bad: 31, note: 33 } as const
type Style = keyof typeof styles

const labels: Record<BatchName, string> = { without: 'large model alone, first come', with: 'with AgentInfer' }

export class View {
  readonly #screen: Screen
  #column = 0
  #model: 'small' | 'large' = 'small'
  #progress: BatchName | undefined
  #told = 0

  constructor(screen: Screen) {
    this.#screen = screen
  }

  show(event: DemoEvent): void {
    switch (event.type) {
      case 'start':
        this.#line(this.#paint('bold', 'AgentInfer: two models, one process'))
        this.#line(`${event.models}\n${event.world}\n${event.machine}`)
        return
      case 'question':
        this.#line(`\n${this.#paint('bold', `Question (${event.hops} steps apart): ${event.text}`)}`)
        return
      case 'agent':
        this.#agent(event.event, event.lambda)
        return
      case 'verdict':
        this.#line(
          event.right
            ? this.#paint('good', `right, in ${event.seconds.toFixed(1)} s`)
            : this.#paint('bad', `wrong: expected ${event.expected}, got ${event.answer ?? 'no answer'}, in ${event.seconds.toFixed(1)} s`),
        )
        return
      case 'batch':
        this.#told = 0
        this.#line(
          `\n${this.#paint('bold', `${event.questions} questions, ${event.agents} agents at once, ${event.kvTokens} tokens of KV: ${labels[event.name]}`)}`,
        )
        return
      case 'progress':
        this.#bar(event.name, event.progress)
        return
      case 'table':
        this.#endLine()
        this.#line(`\n${table(event.without, event.with)}`)
        return
      case 'end':
        this.#line(`\n${event.seconds.toFixed(0)} s in all. The same questions, the same models, greedy decoding.`)
    }
  }

  #agent(event: AgentEvent, lambda: number): void {
    switch (event.type) {
      case 'turn':
        this.#model = event.model
        this.#endLine()
        this.#write(`${this.#paint('dim', `${event.turn}`.padStart(2))} ${this.#paint(event.model, event.model)}  `)
        return
      case 'delta':
        if (event.channel !== 'retract') this.#write(this.#paint(event.channel === 'thinking' ? this.#model : 'bold', event.text.replaceAll('\n', ' ')))
        return
      case 'tool-call':
        this.#detail(`-> ${describeCall(event.call.call)}`, 'bold')
        return
      case 'observation':
        for (const text of event.text.split('\n').slice(0, 2)) this.#detail(`<- ${text}`, 'dim')
        this.#detail(`   ${event.milliseconds.toFixed(0)} ms in the tool, λ ${lambda.toFixed(2)}`, 'dim')
        return
      case 'progress': {
        const verdict = event.probability === undefined ? 'no verdict' : `progress ${event.probability.toFixed(2)}`
        this.#detail(`${verdict}: ${event.reason}`, 'note')
        return
      }
      case 'escalate':
        this.#detail(`${event.from} -> ${event.to}: ${event.reason}, stuck ${event.stuck.toFixed(2)}`, 'note')
        return
      case 'compress':
        this.#detail(compression(event), 'note')
        return
      case 'answer':
        this.#endLine()
        this.#line(`Answer: ${this.#paint('bold', event.text)}`)
        return
      default:
    }
  }

  /** A line of its own under the turn's. */
  #detail(text: string, style: Style): void {
    this.#endLine()
    const room = Math.max(40, this.#screen.columns) - 10
    this.#line(`          ${this.#paint(style, text.length > room ? `${text.slice(0, room - 1)}…` : text)}`)
  }

  /** On a plain terminal a line at each quarter. */
  #bar(name: BatchName, { done, count, right, lambda, hitRate, accepted }: Progress): void {
    const text =
      `${done}/${count} done, ${right} right, λ ${lambda.toFixed(2)}, ${percent(hitRate)} of prompts cached, ` +
      `${percent(accepted)} of tokens from drafts`
    if (this.#screen.tty) {
      const width = 24
      const full = Math.round((width * done) / count)
      this.#screen.write(`\r\u001B[K${this.#paint('good', '█'.repeat(full))}${'░'.repeat(width - full)} ${text}`)
      this.#progress = name
      this.#column = 1
      if (done === count) this.#endLine()
      return
    }
    const quarter = Math.floor((4 * done) / count)
    if (quarter <= this.#told) return
    this.#told = quarter
    this.#line(text)
  }

  #paint(style: Style, text: string): string {
    return this.#screen.tty ? `\u001B[${styles[style]}m${text}\u001B[0m` : text
  }

  #write(text: string): void {
    this.#screen.write(text)
    this.#column += text.length
  }

  #endLine(): void {
    if (this.#column > 0) this.#screen.write('\n')
    this.#column = 0
    this.#progress = undefined
  }

  #line(text: string): void {
    if (this.#progress !== undefined) this.#endLine()
    this.#screen.write(`${text}\n`)
    this.#column = 0
  }
}

function compression(event: Extract<AgentEvent, { type: 'compress' }>): string {
  switch (event.phase) {
    case 'launch':
      return `context: ${event.plan.replaced} tokens of old results are being distilled in the background`
    case 'ready':
      return `context: memory ready: ${event.memory.replaceAll(/===[A-Z_]+===|\n/g, ' ').trim()}`
    case 'swap':
      return `context: ${event.before} -> ${event.after} tokens`
    case 'omit':
      return `context: the ${event.model} model skips ${event.omitted.length} old results`
    default:
      return `context: ${event.reason}`
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}

/** The comparison, aligned for a terminal. */
export function table(without: Figures, withParts: Figures): string {
  const rows: readonly (readonly [string, (figures: Figures) => string])[] = [
    ['questions answered right', (one) => `${percent(one.accuracy)} ± ${(100 * one.standardError).toFixed(0)}`],
    ['time to solution', (one) => `${one.secondsToSolution.toFixed(2)} s`],
    ['questions a minute', (one) => one.tasksPerMinute.toFixed(0)],
    ['tokens written, per question', (one) => one.completionTokens.toFixed(0)],
    ['tokens computed, per question', (one) => one.processed.toFixed(0)],
    ['prompt tokens found in the cache', (one) => percent(one.engineHitRate)],
    ['tokens from accepted drafts', (one) => percent(one.accepted)],
    ['turns by the large model', (one) => percent(one.largeTurnShare)],
    ['speedup', (one) => `${(one.tasksPerMinute / without.tasksPerMinute).toFixed(2)}x`],
  ]
  const cells = [['', 'large alone', 'AgentInfer'], ...rows.map(([name, of]) => [name, of(without), of(withParts)])]
  const widths = [0, 1, 2].map((column) => Math.max(...cells.map((row) => row[column]!.length)))
  return cells.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('   ')).join('\n')
}
