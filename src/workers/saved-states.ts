import { type ChipLedger, type ChipSeconds, chipSecondsOf, NO_WORK, sumOf, total, WORK } from './chip-ledger.js'
import type { PoolObserver } from './events.js'
import type { Failed, StateForm } from './protocol.js'
import type { Task } from './task.js'

/** The largest state of an image in bytes: no frame to a worker may be larger. */
export const MAX_STATE_BYTES = 16 * 1024 * 1024

/** How the story of a state ends; label values of `easel_handovers_total`. */
export const HANDOVERS = ['continued', 'refused', 'crashed', 'no_worker', 'full', 'ended'] as const
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
  /** What it has used so far and need not use again: in the ledger neither charged nor lost yet. */
  readonly used: ChipSeconds
  readonly memory: Memory
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
    from: { name: string; session: string; kind: string; chips: number }
  ): ChipSeconds {
    if (task.stateKind !== from.kind) this.drop(task, 'no_worker')
    task.stateKind = from.kind
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
      task.states.set(image, { form, frame, memory, used: total([before?.used ?? NO_WORK, believed]) })
    }
    this.#options.ledger.hold(from.name, from.session, lasting)
    return lasting
  }

  /** An image of a task has arrived. @returns what it had used before its last worker */
  arrived(task: Task, image: number): ChipSeconds {
    const used = this.#take(task, image, 'continued')?.used ?? NO_WORK
    this.#options.ledger.settle(task.share, used)
    return used
  }

  /** A task's images start anew, or nobody wants them any more. @param paid whether its key pays for the work */
  drop(task: Task, how: Handover, paid = false): void {
    for (const image of task.states.keys()) {
      const { used } = this.#take(task, image, how)!
      this.#options.ledger.settle(paid ? task.share : undefined, used)
      if (paid) task.used = (task.used ?? 0) + sumOf(used)
    }
  }

  #take(task: Task, image: number, how: Handover): SavedState | undefined {
    const state = task.states.get(image)
    if (state === undefined) return undefined
    task.states.delete(image)
    state.memory.release()
    this.#options.observer.handover(how)
    return state
  }
}

function lastingOf(used: ChipSeconds): ChipSeconds {
  return Object.fromEntries(WORK.map((work) => [work, LASTING.has(work) ? used[work] : 0])) as ChipSeconds
}
