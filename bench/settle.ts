/** Which device `auto` is here, for shapes, limits and blocks to suit it. */
import { Engine } from 'agentinfer'

import { shapedModel } from './model_shapes.js'

export interface Settled {
  readonly device: string
  /** Why it is not an NPU; empty where it is one. */
  readonly note: string
}

/** Asks the engine itself, which opens the smallest model for that. REQUIRES: device() is `auto`, so that the model suits an NPU too. */
export async function settle(): Promise<Settled> {
  await using engine = await Engine.open({ model: shapedModel('tiny'), device: 'auto', maxContext: 256, kvTokens: 1024, selfCheck: 'off' })
  const { device, deviceNote } = engine.info
  return { device, note: device === 'cpu' ? deviceNote : '' }
}
