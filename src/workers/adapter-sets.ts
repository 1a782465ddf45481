import type { Job } from './job.js'

/** What it costs a worker to begin a set of LoRAs, in shares of a full worker: it merges them into its weights. */
const MERGE = 0.5

/** The same where images of another set are in flight: the new set may have to wait until they are done. */
const WAIT = 1

/** Identifies the LoRAs of a job's UNet, as the worker's step scheduler tells sets apart; empty for none. */
export function adapterSet({ loras = [] }: Pick<Job, 'loras'>): string {
  const used = loras.filter(({ unet_weight }) => unet_weight !== 0)
  return used
    .map(({ name, digest, unet_weight }) => JSON.stringify([name, digest, unet_weight]))
    .toSorted()
    .join()
}

/** The LoRAs that each worker's weights probably have, by the jobs that it got. */
export class AdapterSets {
  readonly #last = new Map<string, string>()

  /** A worker gets a job. */
  assigned(worker: string, job: Job): void {
    const set = adapterSet(job)
    if (set !== '') this.#last.set(worker, set)
  }

  /** A worker is gone, with its copies. */
  lost(worker: string): void {
    this.#last.delete(worker)
  }

  /**
   * What the LoRAs of a job add to a worker's load, in shares of a full worker.
   *
   * @param running the jobs that the worker has
   */
  cost(worker: string, job: Job, running: Iterable<Job>): number {
    const set = adapterSet(job)
    if (set === '') return 0
    const others = new Set([...running].map(adapterSet))
    if (others.has(set)) return 0
    others.delete('')
    if (others.size > 0) return WAIT
    return this.#last.get(worker) === set ? 0 : MERGE
  }
}
