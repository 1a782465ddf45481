import type { ChipSeconds } from '../schemas/chip-seconds.js'
import { type ChipSeconds as Used, sumOf, WORK } from '../workers/chip-ledger.js'

/** What answers say of what was used, rounded to microseconds. */
export function chipSecondsJson(used: Used): ChipSeconds {
  const rounded = WORK.map((work) => [work, round(used[work])])
  return { total: round(sumOf(used)), ...(Object.fromEntries(rounded) as Used) }
}

function round(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6
}
