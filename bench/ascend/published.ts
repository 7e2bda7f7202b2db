/** What others measured, and the model's figure for the same thing: how far the model may be trusted. */
import { stepTime } from './model.js'
import { shapes } from './shapes.js'

export interface PublishedFigure {
  readonly name: string
  readonly published: number
  readonly modelled: number
  readonly unit: string
  /** Where it is published, and what is not said there. */
  readonly source: string
}

export function publishedFigures(): PublishedFigure[] {
  const small = { shape: shapes['qwen3-8b'] }
  const large = { shape: shapes['qwen3-32b'], tensorParallel: 4 }
  const decode = (setup: Parameters<typeof stepTime>[0], batch: number, context: number): number =>
    1000 * stepTime(setup, Array.from({ length: batch }, () => ({ query: 1, context }))).total
  return [
    {
      name: 'Qwen3-8B bf16, graph, 1 sequence of 2.5k: time a token',
      published: 14.74,
      modelled: decode(small, 1, 2560),
      unit: 'ms',
      source: 'xLLM #2053; chip not stated. The weight bandwidth is fitted to it',
    },
    {
      name: 'Qwen3-8B bf16, prefill of 2k: time to the first token',
      published: 134.8,
      modelled: 1000 * stepTime({ ...small, graph: false }, [{ query: 2048, context: 2048 }]).total,
      unit: 'ms',
      source: 'xLLM #2053; chip not stated',
    },
    {
      name: 'Qwen3-32B bf16 TP 4, graph, 1 sequence: time a token',
      published: 16.75,
      modelled: decode(large, 1, 2048),
      unit: 'ms',
      source: 'vllm-ascend #4526, 910B3; TP not stated, 4 assumed (its fused backend: 12.78)',
    },
    {
      name: 'Qwen3-32B bf16 TP 4, 8 sequences of 16k: time a token',
      published: 34.2,
      modelled: decode(large, 8, 17408),
      unit: 'ms',
      source: 'vllm-ascend #11266',
    },
    {
      name: 'Qwen3-32B TP 4: attention of one layer, 8 sequences of 16k',
      published: 173.4,
      modelled: (1e6 * stepTime(large, Array.from({ length: 8 }, () => ({ query: 1, context: 16384 }))).attention) / large.shape.layers,
      unit: 'us',
      source: 'vllm-ascend #11266. The KV bandwidth is fitted to it',
    },
  ]
}
