import type { Share } from './fair-queue.js'
import type { Used } from './protocol.js'

/** Kinds of work that are charged to a key, as in `Used`. */
export const WORK = ['encode', 'denoise', 'preview', 'decode'] as const
export type Work = (typeof WORK)[number]

/** Chip-seconds by kind of work. */
export type ChipSeconds = Readonly<Record<Work, number>>

/** Lines of nobody: rows that only filled programs, and work whose images nobody got although they wanted them. */
export const UNCHARGED = ['padding', 'lost'] as const

/** One line of the ledger, in chip-seconds since the gateway started. */
export interface Line {
  /** The name of an access key; empty where none are required, and for `padding` and `lost`. */
  readonly key: string
  readonly kind: Work | (typeof UNCHARGED)[number]
  readonly chipSeconds: number
}

/** A worker's own count in its present session, in chip-seconds. */
export interface Count {
  readonly busy: number
  readonly padding: number
}

/** What the messages of one session have accounted for. */
interface Session {
  readonly name: string
  settled: number
}

/**
 * Who used a model's chips. A worker with n devices that works for one second has used n chip-seconds.
 *
 * The law: at any time the lines and the work in flight together are what the workers were busy. `inFlight` is derived
 * from the workers' own count, so time that is charged to nobody stays visible there.
 */
export class ChipLedger {
  readonly #charged = new Map<string, Map<Work, number>>()
  readonly #sessions = new Map<string, Session>()
  /** Of sessions that have ended. */
  #padding = 0
  #lost = 0
  /** Of unfinished images that no worker has. */
  #held = 0
  #closed = 0

  /** A worker reported work for a key. @param session of the worker */
  charge(worker: string, session: string, share: Share, used: ChipSeconds): void {
    this.#enter(share, used)
    this.#settle(worker, session, used)
  }

  /** A worker reported work for an image that another one will go on with: in flight until `settle`. */
  hold(worker: string, session: string, used: ChipSeconds): void {
    this.#held += sumOf(used)
    this.#settle(worker, session, used)
  }

  /** The image is done, or will not be. @param share whose the held work is; undefined if it is lost */
  settle(share: Share | undefined, used: ChipSeconds): void {
    this.#held -= sumOf(used)
    if (share === undefined) this.#lost += sumOf(used)
    else if (sumOf(used) > 0) this.#enter(share, used)
  }

  #enter({ key }: Share, used: ChipSeconds): void {
    const lines = this.#charged.get(key) ?? new Map<Work, number>()
    this.#charged.set(key, lines)
    for (const work of WORK) lines.set(work, (lines.get(work) ?? 0) + used[work])
  }

  /** A worker reported work that is no key's fault to have failed, or of a request that nobody knows any more. */
  lose(worker: string, session: string, used: ChipSeconds): void {
    this.#lost += sumOf(used)
    this.#settle(worker, session, used)
  }

  /** A session has ended. What is not accounted for is lost. @param count the worker's last */
  close(worker: string, session: string, count: Count | undefined): void {
    const { busy, padding, inFlight } = this.#stateOf(worker, session, count)
    this.#sessions.delete(worker)
    this.#padding += padding
    this.#lost += inFlight
    this.#closed += busy
  }

  /** @param connected the sessions of the connected workers, with their last counts */
  read(connected: Iterable<{ name: string; session: string; count: Count | undefined }>): {
    readonly lines: readonly Line[]
    readonly inFlight: number
    readonly busy: number
  } {
    let padding = this.#padding
    let busy = this.#closed
    let inFlight = this.#held
    for (const { name, session, count } of connected) {
      const state = this.#stateOf(name, session, count)
      padding += state.padding
      busy += state.busy
      inFlight += state.inFlight
    }
    const lines: Line[] = [...this.#charged].flatMap(([key, works]) =>
      [...works].map(([kind, chipSeconds]) => ({ key, kind, chipSeconds }))
    )
    lines.push({ key: '', kind: 'padding', chipSeconds: padding }, { key: '', kind: 'lost', chipSeconds: this.#lost })
    return { lines, inFlight, busy }
  }

  /** A session by its worker's last count. What is in flight is not accounted for yet. */
  #stateOf(worker: string, session: string, count: Count = { busy: 0, padding: 0 }): Count & { inFlight: number } {
    const { padding } = count
    const known = this.#settledOf(worker, session) + padding
    // The last images may have come after the last count.
    const busy = Math.max(count.busy, known)
    return { busy, padding, inFlight: busy - known }
  }

  #settle(worker: string, session: string, used: ChipSeconds): void {
    const settled = this.#settledOf(worker, session) + sumOf(used)
    this.#sessions.set(worker, { name: session, settled })
  }

  #settledOf(worker: string, session: string): number {
    const known = this.#sessions.get(worker)
    return known?.name === session ? known.settled : 0
  }
}

export function sumOf(used: ChipSeconds): number {
  return WORK.reduce((sum, work) => sum + used[work], 0)
}

/** @param chips that the worker drives */
export function chipSecondsOf(used: Used, chips: number): ChipSeconds {
  const seconds = WORK.map((work) => [work, ((used[`${work}_ms`] ?? 0) * chips) / 1000])
  return Object.fromEntries(seconds) as ChipSeconds
}

/** Nothing used. */
export const NO_WORK: ChipSeconds = { encode: 0, denoise: 0, preview: 0, decode: 0 }

/** The first without the second, which is part of it. */
export function less(used: ChipSeconds, part: ChipSeconds): ChipSeconds {
  const rest = WORK.map((work) => [work, Math.max(0, used[work] - part[work])])
  return Object.fromEntries(rest) as ChipSeconds
}

/** What several images have used together. */
export function total(all: Iterable<ChipSeconds>): ChipSeconds {
  const sum: Record<Work, number> = { encode: 0, denoise: 0, preview: 0, decode: 0 }
  for (const each of all) for (const work of WORK) sum[work] += each[work]
  return sum
}
