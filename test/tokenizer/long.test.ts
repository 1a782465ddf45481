/** Adversarial texts. */
import { it } from 'vitest'
import { expectLinear } from '../support/linear.js'
import { tokenizerOf } from './support.js'

const tokenizer = tokenizerOf(77)
const LENGTH = 100_000

const letters = (length: number): string => {
  let state = 1
  return Array.from({ length }, () => {
    state = (state * 48_271) % 2_147_483_647
    return String.fromCodePoint(0x61 + (state % 26))
  }).join('')
}
const repeat =
  (unit: string) =>
  (length: number): string =>
    unit.repeat(length / unit.length)

it.each([
  ['one word of many letters', letters],
  ['one word of one letter', repeat('a')],
  ['punctuation', repeat('!')],
  ['marks out of order', (length: number) => `a${'\u0301'.repeat(length / 2)}${'\u0316'.repeat(length / 2)}`],
  ['marks that decompose', repeat('\u0f73')],
  ['Hangul letters', repeat('\u1100\u1161\u11a8\u11a8')],
  ['emoji', repeat('👍🏽')],
  ['special tokens', repeat('<|endoftext|>!!!')],
  ['almost special tokens', repeat('<|endoftex')],
  ['lone surrogates', repeat('\ud800')]
])('takes linear time: %s', (_, make) => {
  expectLinear(make, LENGTH, (text) => tokenizer.encode(text))
})
