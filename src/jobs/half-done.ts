import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { EaselError } from '../errors.js'
import type { Log } from '../logger.js'
import type { LeftImage, Memory, Unfinished } from '../service/continuation.js'
import type { Claim, JobHalves } from './store.js'

export interface HalfDoneOptions {
  /** Accounts for this many bytes; undefined if there is no room. */
  holdStates: (bytes: number) => Memory | undefined
  log: Log
}

const Count = Type.Integer({ minimum: 0 })
const Amount = Type.Number({ minimum: 0 })

/** What a half-done image is, in its store. Another release may have written it. */
const About = Type.Object({
  kind: Type.String(),
  weights: Type.Object({ id: Type.String(), digest: Type.String(), dtype: Type.String() }),
  image: Count,
  form: Type.Object({ step: Count, evaluation: Count, bytes: Count, digest: Type.String() }),
  used: Type.Object({ encode: Amount, denoise: Amount, preview: Amount, decode: Amount })
})
type About = Static<typeof About>

/** Keeps a job's half-done images in the store. Never throws. @returns whether any of them is there */
export async function keepHalfDone(
  halves: JobHalves | undefined,
  claim: Claim,
  images: readonly LeftImage[],
  log: Log
): Promise<boolean> {
  const steps: Record<string, number> = {}
  const { id } = claim.name
  for (const left of images) {
    try {
      const half = { about: JSON.stringify(aboutOf(left)), bytes: bufferOf(left.frame) }
      const kept = await halves?.save(claim, half, Object.keys(steps).length === 0)
      left.end(kept === true)
      if (kept === true) steps[left.image] = left.form.step
    } catch (error) {
      left.end(false)
      const why = error instanceof EaselError ? error.message : String(error)
      log.warn(
        { job: id, image: left.image, step: left.form.step },
        `the store does not take image ${left.image} of job ${id}, which is half done and starts anew: ${why}`
      )
    }
  }
  const count = Object.keys(steps).length
  if (count > 0) log.info({ job: id, steps }, `job ${id} leaves with ${count} images that go on at another gateway`)
  return count > 0
}

/** The half-done images with which a job comes. Leaves out those that are gone or have no room. Never throws. */
export async function readHalfDone(
  { name: { id }, halfDone }: Claim,
  { holdStates, log }: HalfDoneOptions
): Promise<Unfinished[]> {
  const images: Unfinished[] = []
  const lost: string[] = []
  for (const { about, read } of halfDone) {
    let memory: Memory | undefined
    try {
      const said: unknown = JSON.parse(about)
      if (!Value.Check(About, said)) throw new Error('they are of another release')
      const { form, ...rest } = said
      memory = holdStates(form.bytes)
      const frame = memory === undefined ? undefined : await read()
      if (memory === undefined) lost.push('MEMORY_BUDGET has no room for it')
      else if (frame?.length !== form.bytes) throw new Error(`the store has ${frame?.length} bytes of ${form.bytes}`)
      else images.push({ ...rest, form: { ...form, image: rest.image }, frame, memory })
    } catch (error) {
      memory?.release()
      lost.push((error as Error).message)
    }
  }
  if (lost.length > 0)
    log.warn({ job: id, images: lost.length }, `${lost.length} half-done images of job ${id} start anew: ${lost[0]}`)
  const steps = Object.fromEntries(images.map(({ image, form }) => [image, form.step]))
  if (images.length > 0) log.info({ job: id, steps }, `job ${id} comes with ${images.length} half-done images`)
  return images
}

function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length)
}

function aboutOf({ kind, weights, image, form, used }: LeftImage): About {
  const { id, digest, dtype } = weights
  const { step, evaluation, bytes } = form
  return {
    kind,
    weights: { id, digest, dtype },
    image,
    form: { step, evaluation, bytes, digest: form.digest },
    used
  }
}
