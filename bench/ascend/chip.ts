/**
 * One Ascend 910B3 of an Atlas 800T A2 (eight cards, fully meshed), as the model sees it. What is published is told from what is assumed:
 * nothing here was measured by us.
 */
export interface AscendChip {
  /** Peak of the cubes in operations a second: 20 cores x 16x16x16 multiply-adds x 1.8 GHz (CANN's platform file Ascend910B3.ini). */
  readonly peak: { readonly bf16: number; readonly int8: number }
  /** Share of the peak that a large product reaches. Estimates for bf16 prefill are 50-65 %; int8 prefill is published as 1.5 times as fast. */
  readonly productEfficiency: { readonly bf16: number; readonly int8: number }
  /** Share of the bf16 peak that attention over long queries reaches. Assumed. */
  readonly attentionEfficiency: number
  /** Bytes a second at which weights stream: chosen so that Qwen3-8B takes xLLM's 14.74 ms a token (about 1.05 TB/s with everything). */
  readonly weightBandwidth: number
  /** Bytes a second at which attention reads K and V: 134 MB in 173.4 us (FusedInferAttentionScore, vllm-ascend #11266). */
  readonly kvBandwidth: number
  /** Bytes a second of activations between memory and vector cores; much of it stays in the 192 MiB L2. Assumed. */
  readonly activationBandwidth: number
  /** Seconds of the device for each launch beyond its bytes: start, drain, gap to the next. Assumed, together with weightBandwidth. */
  readonly launchGap: number
  /** Bytes a second of one HCCS link in one direction (56 GB/s) and the share a collective reaches. */
  readonly link: number
  readonly linkEfficiency: number
  /** Seconds a collective takes however little it carries; published estimates 15-40 us captured, none for A2. */
  readonly collectiveLatency: number
  readonly host: HostCosts
  /** Bytes of memory a process may have of a 64 GB card (61 GiB are reported, 3.3 GB of them taken by the system). */
  readonly memory: number
}

/**
 * Seconds of the host's thread. An operator's two phases together cost 10-30 us by what is published; ours keep the first phase's result
 * (executors are reused) and pay the second, so the split below is an assumption in the lower half of it.
 */
export interface HostCosts {
  /** Second phase with a kept executor, addresses rebound. */
  readonly launch: number
  /** First phase: shapes, tiling. One attention call in a step. */
  readonly plan: number
  readonly collective: number
  /** Enqueueing a copy. */
  readonly copy: number
  /** Submitting a captured graph. */
  readonly replay: number
  /** Updating one layer's attention in a submitted graph: begin, launch, end, event. On another stream, beside the graph. */
  readonly update: number
  /** Waiting for the result and what the engine does around the step. */
  readonly around: number
}

export const ascend910B3: AscendChip = {
  peak: { bf16: 294.9e12, int8: 589.8e12 },
  productEfficiency: { bf16: 0.65, int8: 0.5 },
  attentionEfficiency: 0.35,
  weightBandwidth: 1.1e12,
  kvBandwidth: 0.78e12,
  activationBandwidth: 1e12,
  launchGap: 2e-6,
  link: 56e9,
  linkEfficiency: 0.7,
  collectiveLatency: 20e-6,
  host: { launch: 8e-6, plan: 20e-6, collective: 40e-6, copy: 5e-6, replay: 50e-6, update: 20e-6, around: 60e-6 },
  memory: 61 * 2 ** 30 - 3.3e9,
}
