import type { SdapiProgress } from '../../schemas/sdapi.js'
import type { RunEvent } from '../../service/run.js'
import { stampOf } from './stamp.js'
import type { Task } from './tasks.js'

/** The least progress that the web UI reports of a request in flight; its clients take 0 for none. */
const LEAST = 0.01

type Step = Extract<RunEvent, { type: 'progress' }>

/**
 * The progress of a request in the web UI's form.
 *
 * @param task undefined for none
 * @param withPreview whether to include the newest preview
 */
export function progressOf(task: Task | undefined, withPreview: boolean): SdapiProgress {
  if (task === undefined) return inForm({ progress: 0, seconds: 0 })
  const { images } = task
  const { done, steps, seconds, preview } = newest(task)
  const shares = [...steps.values()].filter(({ image }) => !done.has(image)).map(({ step, of }) => step / of)
  const share = (done.size + shares.reduce((sum, each) => sum + each, 0)) / images
  const [slowest] = [...steps.values()].toSorted((a, b) => a.step / a.of - b.step / b.of)
  return inForm({
    progress: Math.min(1, Math.max(LEAST, share)),
    seconds,
    job: task.id ?? task.kind,
    images,
    since: task.since,
    done: done.size,
    step: slowest,
    preview: withPreview ? preview : undefined
  })
}

interface Form {
  readonly progress: number
  readonly seconds: number
  readonly job?: string
  readonly images?: number
  readonly since?: Date
  readonly done?: number
  readonly step?: Step | undefined
  readonly preview?: Buffer | undefined
}

function inForm({ progress, seconds, job = '', images = 0, since, done = 0, step, preview }: Form): SdapiProgress {
  return {
    progress,
    eta_relative: seconds,
    state: {
      skipped: false,
      interrupted: false,
      stopping_generation: false,
      job,
      job_count: images,
      job_timestamp: since === undefined ? '0' : stampOf(since),
      job_no: done,
      sampling_step: step?.step ?? 0,
      sampling_steps: step?.of ?? 0
    },
    current_image: preview?.toString('base64') ?? null,
    textinfo: null
  }
}

function newest({ run }: Task) {
  const done = new Set<number>()
  const steps = new Map<number, Step>()
  let seconds = 0
  let preview: Buffer | undefined
  for (let event = run.eventAfter(0); event !== undefined; event = run.eventAfter(event.number)) {
    if (event.type === 'image') done.add(event.image.index)
    else if (event.type === 'queued') seconds = event.estimate_seconds ?? 0
    else if (event.type === 'preview') preview = event.jpeg
    else if (event.type === 'progress') steps.set(event.image, event)
  }
  const left = [...steps.values()].filter(({ image }) => !done.has(image))
  if (steps.size > 0) seconds = Math.max(0, ...left.map(({ eta_seconds }) => eta_seconds ?? 0))
  return { done, steps, seconds, preview }
}
