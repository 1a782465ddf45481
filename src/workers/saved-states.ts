import { type ChipLedger, type ChipSeconds, chipSecondsOf, NO_WORK, sumOf, total, WORK } from './chip-ledger.js'
import type { PoolObserver } from './events.js'
import { sameWeights, type Weights } from './models.js'
import type { Failed, StateForm } from './protocol.js'
import type { Task } from './task.js'

/** The largest state of an image in bytes: no frame to a worker may be larger. */
export const MAX_STATE_BYTES = 16 * 1024 * 1024

/** How the story of a state ends; label values of `easel_handovers_total`. */
export const HANDOVERS = ['continued', 'refused', 'crashed', 'no_worker', 'full', 'stored', 'ended'] as const
export type Handover = (typeof HANDOVERS)[number]

/** Work that the next worker does not do again. It encodes again, and nothing was decoded. */
const LASTING: ReadonlySet<(typeof WORK)[number]> = new Set(['denoise', 'preview'])

/** Accounted memory. */
export interface Memory {
  release: () => void
}

/** An unfinished image as its last worker gave it back. */
export interface SavedState {
  readonly form: StateForm
  readonly frame: Uint8Array
  /** What it has used so far and need not use again. */
  readonly used: ChipSeconds
  /** The part of `used` that workers of this gateway did: in the ledger neither charged nor lost yet. */
  readonly held: ChipSeconds
  readonly memory: Memory
}

/** Who can go on from states: workers of this kind (`Hello.state_kind`) with these weights. */
export interface StateOrigin {
  readonly kind: string
  readonly weights: Weights
}

/** An unfinished image that no worker has, outside a task. */
export interface Unfinished extends StateOrigin {
  /** Its index in its job. */
  readonly image: number
  readonly form: StateForm
  readonly frame: Uint8Array
  readonly used: ChipSeconds
  /** Of `frame`. Whoever has the image releases it. */
  readonly memory: Memory
}

/** An unfinished image of a task that has ended because its gateway leaves. Whoever takes it calls `end`. */
export interface LeftImage extends Omit<Unfinished, 'memory'> {
  /**
   * Only the first call counts.
   *
   * @param stored whether another gateway can go on with it. Its key then pays here for what was done here, otherwise that
   *   is lost
   */
  readonly end: (stored: boolean) => void
}

export interface SavedStatesOptions {
  ledger: ChipLedger
  /** Accounts for this many bytes; undefined if there is no room. */
  hold: (bytes: number) => Memory | undefined
  observer: PoolObserver
}

/**
 * Keeps what workers that leave know of unfinished images, until another worker has made them. Every state that
 * comes in ends in exactly one `Handover`.
 */
export class SavedStates {
  readonly #options: SavedStatesOptions

  constructor(options: SavedStatesOptions) {
    this.#options = options
  }

  /**
   * A worker gave back a task.
   *
   * @param images which of the task's images the message's indexes mean: those that it has not delivered
   * @param from the worker
   * @returns what of the work is not lost; it is in the ledger as held
   */
  keep(
    task: Task,
    { states = [], used }: Failed,
    frames: readonly Uint8Array[],
    images: ReadonlyMap<number, number>,
    from: StateOrigin & { name: string; session: string; chips: number }
  ): ChipSeconds {
    this.#expect(task, from)
    const all = used === undefined ? NO_WORK : chipSecondsOf(used, from.chips)
    let lasting = NO_WORK
    for (const [index, form] of states.entries()) {
      const image = images.get(form.image)
      const frame = frames[index]!
      if (image === undefined || form.step > task.job.steps) continue
      const memory = frame.length > MAX_STATE_BYTES ? undefined : this.#options.hold(frame.length)
      if (memory === undefined) {
        this.#options.observer.handover('full')
        continue
      }
      const own = lastingOf(form.used === undefined ? NO_WORK : chipSecondsOf(form.used, from.chips))
      // A worker that contradicts itself is believed what it says of all images.
      const more = total([lasting, own])
      const believed = WORK.every((work) => more[work] <= all[work] + 1e-6) ? own : NO_WORK
      lasting = total([lasting, believed])
      const before = this.#take(task, image, 'continued')
      task.states.set(image, {
        form,
        frame,
        memory,
        used: total([before?.used ?? NO_WORK, believed]),
        held: total([before?.held ?? NO_WORK, believed])
      })
    }
    this.#options.ledger.hold(from.name, from.session, lasting)
    return lasting
  }

  /** A new task begins with images that another gateway's workers gave back. Their memory is now the task's. */
  begin(task: Task, images: readonly Unfinished[]): void {
    for (const { image, form, frame, used, memory, ...origin } of images) {
      this.#expect(task, origin)
      const state: SavedState = { form, frame, used, memory, held: NO_WORK }
      if (image < task.job.seeds.length && form.step <= task.job.steps) task.states.set(image, state)
      else this.#end(state, 'ended')
    }
    task.stopped()
  }

  /** An image of a task has arrived. @returns what it had used before its last worker, in all and of this gateway's workers */
  arrived(task: Task, image: number): { readonly used: ChipSeconds; readonly held: ChipSeconds } {
    const { used, held } = this.#take(task, image, 'continued') ?? { used: NO_WORK, held: NO_WORK }
    this.#options.ledger.settle(task.share, held)
    return { used, held }
  }

  /** Takes a task's images out of it, for another gateway. */
  leave(task: Task): LeftImage[] {
    const left = [...task.states].map(([image, state]): LeftImage => {
      const { form, frame, used, held } = state
      let ended = false
      const end = (stored: boolean) => {
        if (ended) return
        ended = true
        this.#options.ledger.settle(stored ? task.share : undefined, held)
        this.#end(state, stored ? 'stored' : 'ended')
      }
      return { ...task.stateOrigin!, image, form, frame, used, end }
    })
    task.states.clear()
    return left
  }

  /** A task's images start anew, or nobody wants them any more. @param paid whether its key pays for the work */
  drop(task: Task, how: Handover, paid = false): void {
    for (const image of task.states.keys()) {
      const { held } = this.#take(task, image, how)!
      this.#options.ledger.settle(paid ? task.share : undefined, held)
      if (paid) task.used = (task.used ?? 0) + sumOf(held)
    }
  }

  /** A task can go on from states of one origin only: those of another one are dropped. */
  #expect(task: Task, { kind, weights }: StateOrigin): void {
    const { stateOrigin: known } = task
    if (known !== undefined && (known.kind !== kind || !sameWeights(known.weights, weights)))
      this.drop(task, 'no_worker')
    task.stateOrigin = { kind, weights }
  }

  #take(task: Task, image: number, how: Handover): SavedState | undefined {
    const state = task.states.get(image)
    if (state === undefined) return undefined
    task.states.delete(image)
    this.#end(state, how)
    return state
  }

  #end({ memory }: SavedState, how: Handover): void {
    memory.release()
    this.#options.observer.handover(how)
  }
}

function lastingOf(used: ChipSeconds): ChipSeconds {
  return Object.fromEntries(WORK.map((work) => [work, LASTING.has(work) ? used[work] : 0])) as ChipSeconds
}
