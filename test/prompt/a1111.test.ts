/** The reading of AUTOMATIC1111's web UI. python-worker/parity/prompts/make_goldens.py made the golden files. */
import { describe, expect, it } from 'vitest'
import { parseA1111 } from '../../src/prompt/a1111.js'
import { parsePrompt, PromptSyntaxError } from '../../src/prompt/index.js'
import { goldenRows, type ParseGolden } from './support.js'

const read = (text: string) => parseA1111(text).map(({ text, weight }) => [text, weight])

describe('fragments', () => {
  const rows = goldenRows<ParseGolden>('a1111-parse.json')

  it("equal the web UI's in more than 500 prompts, to the last bit of each weight", () => {
    expect(rows.length).toBeGreaterThan(500)
    const readable = rows.filter(({ fragments }) => fragments !== null)
    expect(readable.filter(({ text, fragments }) => JSON.stringify(read(text)) !== JSON.stringify(fragments))).toEqual(
      []
    )
  })

  it('are refused where the web UI fails', () => {
    const unreadable = rows.filter(({ fragments }) => fragments === null)
    expect(unreadable.length).toBeGreaterThan(0)
    for (const { text } of unreadable) expect(() => parseA1111(text), text).toThrow('which is not a number')
  })
})

describe('each character', () => {
  it('is located in the prompt', () => {
    const prompt = String.raw`a \(b\) (c:1.2) BREAK [d]`
    for (const { text, starts } of parseA1111(prompt)) expect(starts.map((at) => prompt[at]).join('')).toBe(text)
  })
})

describe('refuses', () => {
  const message = (text: string, negative = false): string | undefined => {
    try {
      parsePrompt(text, 'a1111', negative)
      return undefined
    } catch (error) {
      expect(error).toBeInstanceOf(PromptSyntaxError)
      return (error as Error).message
    }
  }

  it('prompts that change between steps, and no others', () => {
    for (const { text, changes } of goldenRows<{ text: string; changes: boolean }>('a1111-schedules.json')) {
      expect(message(text) !== undefined, text).toBe(changes)
    }
  })

  it.each([
    [
      'a <hypernet:x:0.8> b',
      'has <hypernet:x:0.8>, which loads a network that Easel does not have: remove it, or name a LoRA with <lora:name:1>'
    ],
    ['a <lora:x:much> b', 'has <lora:x:much>, whose weight "much" is not a number'],
    ['a <lora:x:> b', 'has <lora:x:>, whose weight "" is not a number'],
    ['a AND b', 'has AND, which joins several prompts in this syntax; Easel paints one: write "and"'],
    [
      '[a:b:0.5]',
      'has [a:b:0.5], which changes the prompt between steps in this syntax; Easel keeps one prompt for all steps: a weight is (word:0.8), in round brackets'
    ],
    ['(a:1001)', 'gives "a" the weight 1001; weights go from -1000 to 1000'],
    ['('.repeat(101), 'nests brackets more than 100 deep; remove some, or escape them']
  ])('%s', (text, expected) => {
    expect(message(text)).toBe(expected)
  })

  it('a network or a change between steps in a negative prompt too, where AND is a word', () => {
    expect(message('<lora:x:1>', true)).toContain('only the prompt can name LoRAs')
    expect(message('<hypernet:x:1>', true)).toContain('network')
    expect(message('[a|b]', true)).toContain('alternates')
    expect(message('a AND b', true)).toBeUndefined()
  })

  it('no < that opens nothing', () => {
    expect(message('a <lora b <: c> <d:> >')).toBeUndefined()
  })
})
