/**
 * The reference tokenizer's character properties, independent of this Node's Unicode version. Tables:
 * `unicode-data.ts`.
 */
import * as data from './unicode-data.js'

export const SPACE = 1
export const LETTER = 2
export const NUMBER = 4
/** NFC may change the character or a neighbour. */
export const COMPOSING = 8
/** NFC may reorder the character or join it to the previous one. */
export const TRAILING = 16

const CODE_POINTS = 0x11_00_00

/** Character classes, combining classes and lowercase by code point. Takes about 1.1 MB and a few ms to build. */
export class Unicode {
  readonly #flags = new Uint8Array(CODE_POINTS)
  readonly #combining = new Map<number, number>()
  readonly #lower = new Map<number, string>(data.LOWERCASE_EXPANSIONS)

  constructor() {
    this.#mark(data.SPACES, SPACE)
    this.#mark(data.LETTERS, LETTER)
    this.#mark(data.NUMBERS, NUMBER)
    this.#mark(data.COMPOSING, COMPOSING)
    this.#readTrailing(data.TRAILING)
    this.#readLowercase(data.LOWERCASE)
  }

  /** A combination of the flags above; 0 for none, e.g. for most punctuation. */
  flags(point: number): number {
    return this.#flags[point] as number
  }

  /** The canonical combining class; 0 for characters that NFC does not reorder. */
  combiningClass(point: number): number {
    return this.#combining.get(point) ?? 0
  }

  /** Lowercase independent of context and language: no final sigma, no dotless i. */
  lower(point: number): string {
    return this.#lower.get(point) ?? String.fromCodePoint(point)
  }

  #mark(table: string, flag: number): void {
    const numbers = decode(table)
    let point = 0
    for (let i = 0; i < numbers.length; i += 2) {
      point += numbers[i] as number
      const end = point + (numbers[i + 1] as number)
      for (; point < end; point++) this.#addFlag(point, flag)
    }
  }

  #readTrailing(table: string): void {
    const numbers = decode(table)
    let point = 0
    for (let i = 0; i < numbers.length; i += 3) {
      point += numbers[i] as number
      const end = point + (numbers[i + 1] as number)
      const combiningClass = numbers[i + 2] as number
      for (; point < end; point++) {
        this.#addFlag(point, TRAILING)
        if (combiningClass > 0) this.#combining.set(point, combiningClass)
      }
    }
  }

  #readLowercase(table: string): void {
    const numbers = decode(table)
    for (let i = 0; i < numbers.length; i += 4) {
      const [first, count, step, difference] = numbers.slice(i, i + 4) as [number, number, number, number]
      for (let point = first; point < first + count * step; point += step) {
        this.#lower.set(point, String.fromCodePoint(point + difference))
      }
    }
  }

  #addFlag(point: number, flag: number): void {
    this.#flags[point] = this.flags(point) | flag
  }
}

function decode(table: string): number[] {
  return table.split(' ').map((number) => Number.parseInt(number, 36))
}
