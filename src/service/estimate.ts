import { type ChipSeconds, total } from '../workers/chip-ledger.js'
import type { Plan } from './planner.js'
import { NOTHING_YET } from './second-pass.js'

/** What a request would use, and when it would be done. Undefined is unknown. */
export interface Estimate {
  readonly used: ChipSeconds | undefined
  /** From now until it is done, in seconds. */
  readonly seconds: number | undefined
  /** How long of that it would wait for others. */
  readonly waitSeconds: number | undefined
}

export function estimateOf({ model: { served }, job, second, share }: Plan): Estimate {
  const steps = job.steps + (second?.steps ?? 0)
  const seconds = served.secondsFor({ ...job, steps }, share)
  const alone = served.secondsLeft(job.scheduler, steps)
  const passes = [
    served.chipSecondsFor(job),
    ...(second === undefined ? [] : job.seeds.map((_, index) => served.chipSecondsFor(second.job(index, NOTHING_YET))))
  ]
  const known = passes.flatMap((used) => used ?? [])
  return {
    used: known.length === passes.length ? total(known) : undefined,
    seconds,
    waitSeconds: seconds === undefined || alone === undefined ? undefined : Math.max(0, seconds - alone)
  }
}
