/**
 * Adversarial texts. Compares this process's CPU time with that of a text an eighth as long: linear
 * work takes 8 times as much, quadratic work 64 times.
 */
import { expect, it } from 'vitest'
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
  const short = make(LENGTH / 8)
  const long = make(LENGTH)
  for (let i = 0; i < 4; i++) cpuMs(short)
  const few = Math.max(Math.min(...Array.from({ length: 4 }, () => cpuMs(short))), 2)
  const many = Math.min(cpuMs(long), cpuMs(long))
  expect(many / few).toBeLessThan(32)
})

function cpuMs(text: string): number {
  const before = process.cpuUsage()
  tokenizer.encode(text)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}
