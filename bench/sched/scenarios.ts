/** What is simulated. All on openPangu 7B, two Ascend 910B3 chips an engine, blocks of 128 tokens. */
import { ascend7b } from './costs.js'
import type { CostModel } from './costs.js'
import { baselines } from './policies.js'
import type { ContestantName } from './policies.js'
import { chat, flood, longQuestions, merge, research } from './workload.js'
import type { Trace } from './workload.js'

export interface Scenario {
  readonly name: string
  readonly about: string
  readonly engines: number
  /** KV blocks of an engine; about 1,500 in the paper's figure 4. */
  readonly blocks: number
  readonly trace: (seed: number) => Trace
  readonly contestants: readonly ContestantName[]
  /** paper: its setting. pressure: demand is 1.5 to 3 times the pool. calm: everything fits. flood: somebody sends a lot. */
  readonly kind: 'paper' | 'pressure' | 'calm' | 'flood' | 'scale'
  /** Runs unless others are asked for: more where seeds differ much. Default: 5. */
  readonly seeds?: number
  /** Only in the big set. */
  readonly big?: boolean
}

export const blockSize = 128
export const hostBlocks = 12288
export const maxBatchTokens = 2048
export const maxSequences = 128
export const costs: CostModel = ascend7b(2, blockSize)

const withHost: readonly ContestantName[] = ['fcfs+host', 'lpm+host', 'ours+host']
const all: readonly ContestantName[] = [...baselines, 'ours', 'lpm+host', 'ours+host']
/** What takes minutes a run: beside the best of the other rules at 64 sessions. */
const largest: readonly ContestantName[] = ['fcfs', 'lpm', 'ours']
const sessions = (places: number, tasks: number, tenants = 1): ((seed: number) => Trace) => (seed) => research(seed, { places, tasks, tenants })

export const scenarios: readonly Scenario[] = [
  {
    name: 'paper', about: '4 research sessions, as in arXiv 2512.18337, table 10', engines: 1, blocks: 1500, trace: sessions(4, 24), kind: 'paper', seeds: 20,
    contestants: [...baselines, 'ours', ...withHost, 'belady', 'lpm-belady', 'unlimited', 'ours-unlimited'],
  },
  {
    name: 'pressure-6', about: '6 research sessions', engines: 1, blocks: 1500, trace: sessions(6, 24), kind: 'pressure', seeds: 20,
    contestants: [...baselines, 'ours', 'ours+host', 'unlimited'],
  },
  {
    name: 'pressure-8', about: '8 research sessions', engines: 1, blocks: 1500, trace: sessions(8, 24), kind: 'pressure',
    contestants: [...baselines, 'ours', ...withHost, 'unlimited'],
  },
  {
    name: 'pressure-12', about: '12 research sessions', engines: 1, blocks: 1500, trace: sessions(12, 36), kind: 'pressure',
    contestants: [...baselines, 'ours', ...withHost, 'unlimited'],
  },
  {
    name: 'calm-research', about: '2 research sessions in a pool that holds four times as many', engines: 1, blocks: 6000, trace: sessions(2, 8), kind: 'calm',
    contestants: [...baselines, 'ours'],
  },
  {
    name: 'calm-chat', about: '200 conversations, one new every 3 s', engines: 1, blocks: 1500, kind: 'calm', contestants: [...baselines, 'ours'],
    trace: (seed) => merge('chat', chat(seed, { conversations: 200, rate: 1 / 3 })),
  },
  {
    name: 'flood-short', about: '4 research sessions and long questions under a flood of short requests, one tenant', engines: 1, blocks: 1500, kind: 'flood',
    contestants: [...baselines, 'ours'],
    trace: (seed) =>
      merge(
        'flood', research(seed, { places: 4, tasks: 8 }), longQuestions(seed, { count: 10, every: 60, tokens: 40_000, tenant: 't0' }),
        flood(seed, { rate: 3, seconds: 600, prompt: 400, output: 60, tenant: 't0' }),
      ),
  },
  {
    name: 'flood-tenant', about: 'one tenant floods with medium requests, two others do research and chat', engines: 1, blocks: 1500, kind: 'flood',
    contestants: [...baselines, 'ours'],
    trace: (seed) =>
      merge(
        'tenants', research(seed, { places: 3, tasks: 6 }), chat(seed, { conversations: 60, rate: 0.1 }),
        flood(seed, { rate: 2.5, seconds: 600, prompt: 3000, output: 80, tenant: 'flood' }),
      ),
  },
  {
    name: 'bursts', about: '4 research sessions, 40 conversations that begin together every 2 minutes', engines: 1, blocks: 1500, kind: 'flood',
    contestants: [...baselines, 'ours'],
    trace: (seed) => merge('bursts', research(seed, { places: 4, tasks: 12 }), chat(seed, { conversations: 200, rate: 1 / 3, burst: 120 })),
  },
  { name: 'scale-16', about: '16 research sessions on 2 engines', engines: 2, blocks: 1500, trace: sessions(16, 40), kind: 'scale', contestants: all },
  { name: 'scale-64', about: '64 research sessions on 8 engines', engines: 8, blocks: 1500, trace: sessions(64, 128), kind: 'scale', contestants: all },
  { name: 'scale-256', about: '256 research sessions on 32 engines', engines: 32, blocks: 1500, trace: sessions(256, 384), kind: 'scale', contestants: largest, big: true },
  { name: 'scale-1024', about: '1,024 research sessions on 64 engines', engines: 64, blocks: 1500, trace: sessions(1024, 1280), kind: 'scale', contestants: largest, big: true },
]
