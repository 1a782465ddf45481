import { type ChipSeconds, type Work, WORK } from './chip-ledger.js'
import { type Job, rowSteps } from './job.js'

/** Chip-seconds of a step for one row of a million pixels, before any was measured: a v5e's, computed. */
const NOMINAL_ROW_SECONDS = 0.055

/** Weight of the latest image in the moving averages. */
const SMOOTHING = 0.1

/** Most kinds of images remembered. Bounded, because requests choose them. */
const MAX_PRICES = 256

/** What an estimate needs to know of a job besides its fields. */
export interface Extent {
  /** Whether the model takes the guidance scale as an input, so that no image has a second row. */
  readonly embedded: boolean
  /** The worker's steps for one step of the request, on average. */
  readonly evaluations: number
}

type Prices = Partial<Record<Work, number>>

/**
 * What images cost, learned from those that were made: chip-seconds for one encoding, one row in one step, one preview
 * and one decoding, for each kind of image.
 *
 * Images that share a step share its fixed cost too, so the price of a row is that of the company that images have had
 * lately.
 */
export class PriceList {
  /** The latest last. */
  readonly #prices = new Map<string, { readonly pixels: number; readonly prices: Prices }>()

  /** Learns from one image of a job. */
  learn(job: Job, extent: Extent, used: ChipSeconds): void {
    const kind = kindOf(job)
    const known = this.#prices.get(kind)?.prices ?? {}
    const prices: Prices = { ...known }
    for (const [work, count] of countsOf(job, extent)) {
      if (count === 0) continue
      const price = used[work] / count
      const before = known[work]
      prices[work] = before === undefined ? price : before + SMOOTHING * (price - before)
    }
    this.#prices.delete(kind)
    this.#prices.set(kind, { pixels: job.width * job.height, prices })
    for (const oldest of this.#prices.keys()) {
      if (this.#prices.size <= MAX_PRICES) break
      this.#prices.delete(oldest)
    }
  }

  /**
   * Chip-seconds of a job's images together. Of a kind that was never made, by the pixels of the kind made last;
   * undefined before the first image.
   */
  estimate(job: Job, extent: Extent): ChipSeconds | undefined {
    const known = this.#prices.get(kindOf(job)) ?? [...this.#prices.values()].at(-1)
    if (known === undefined) return undefined
    const scale = (job.width * job.height) / known.pixels
    const costs = countsOf(job, extent).map(([work, count]) => [
      work,
      count * (known.prices[work] ?? 0) * scale * job.seeds.length
    ])
    return Object.fromEntries(costs) as ChipSeconds
  }
}

/**
 * Chip-seconds of a job by its rows, steps and pixels alone: what jobs weigh against each other before any was measured.
 */
export function nominalChipSeconds(job: Job, { embedded, evaluations }: Extent): number {
  const rows = rowSteps(job, embedded) * job.seeds.length
  return (rows * evaluations * job.width * job.height * NOMINAL_ROW_SECONDS) / 1e6
}

/** How often one image of a job needs each kind of work. */
function countsOf(job: Job, { embedded, evaluations }: Extent): [Work, number][] {
  const { steps, preview_every: every = 0, output_type: output } = job
  // No preview after the last step.
  const previews = every === 0 ? 0 : Math.floor((steps - 1) / every)
  const counts: Record<Work, number> = {
    encode: 1,
    denoise: rowSteps(job, embedded) * evaluations,
    preview: previews,
    decode: output === undefined ? 1 : 0
  }
  return WORK.map((work) => [work, counts[work]])
}

/** What decides the prices: whatever takes other programs or more inputs. */
function kindOf({
  width,
  height,
  prompt,
  controls,
  ip_adapters: adapters,
  cache_interval: cache = 1,
  denoising_end: end = 1,
  latents_upscaler: upscaler,
  pictures
}: Job): string {
  const conditions = [controls?.length ?? 0, adapters?.length ?? 0, pictures?.length ?? 0]
  return [width, height, prompt.ids.length, cache, end, upscaler, ...conditions].join()
}
