import type { Run } from '../service/run.js'
import type { Progress } from './submission.js'

/** ms between two reports of a job's progress. */
const REPORT_MS = 1000

interface Follower {
  /** The first of its images has begun. */
  started: () => void
  /** Called with how far it is, not more often than each second. */
  report: (progress: Progress) => void
}

/** Follows how far a run of so many images is, until the returned function is called. */
export function followProgress(run: Run, images: number, { started, report }: Follower): () => void {
  const steps = new Map<number, { step: number; of: number }>()
  let [last, done, reportedAt] = [0, 0, -Infinity]
  let later: NodeJS.Timeout | undefined
  const say = () => {
    later = undefined
    reportedAt = performance.now()
    const all = [...steps.values()]
    report({
      images_done: done,
      images,
      step: all.reduce((sum, { step }) => sum + step, 0),
      of: all.reduce((sum, { of }) => sum + of, 0)
    })
  }
  const look = () => {
    for (let event = run.eventAfter(last); event !== undefined; event = run.eventAfter(last)) {
      last = event.number
      if (event.type === 'started') started()
      if (event.type === 'progress') steps.set(event.image, event)
      if (event.type === 'image') done += 1
    }
    if (steps.size > 0) later ??= setTimeout(say, Math.max(0, reportedAt + REPORT_MS - performance.now()))
  }
  const unwatch = run.watch(look)
  look()
  return () => {
    unwatch()
    clearTimeout(later)
  }
}
