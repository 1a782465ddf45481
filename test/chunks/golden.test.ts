/** Ids, weights and hidden spans of the references. python-worker/parity/prompts/make_goldens.py made the golden files. */
import { describe, expect, it } from 'vitest'
import { a1111Chunks, repadded } from '../../src/chunks/a1111.js'
import type { Chunk } from '../../src/chunks/chunk.js'
import { compelChunks } from '../../src/chunks/compel.js'
import { parsePrompt } from '../../src/prompt/index.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { goldenRows } from '../prompt/support.js'
import { modelFolder } from '../tokenizer/support.js'

type Runs = [weight: number, times: number][]
interface Golden {
  text: string
  ids: number[][]
  ids_2?: number[][]
  weights: Runs[]
  weights_2?: Runs[]
}
interface CompelGolden extends Golden {
  masked: [number, number][]
  masked_2?: [number, number][]
  pooled: number[]
}

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
const [first, second] = tokenizers.tokenizers

const spread = (runs: Runs): number[] => runs.flatMap(([weight, times]) => Array.from({ length: times }, () => weight))

function expectChunks(chunks: readonly Chunk[], ids: number[][], weights: Runs[], text: string): void {
  expect(
    chunks.map((chunk) => chunk.ids),
    text
  ).toEqual(ids)
  const rounded = chunks.map((chunk) => chunk.weights.map((weight) => Number(weight.toFixed(6))))
  expect(rounded, text).toEqual(weights.map(spread))
}

const kinds = (rows: Golden[]): number => new Set(rows.map(({ ids }) => ids.length)).size

describe('the chunks of a1111', () => {
  it("equal the web UI's for both text encoders", () => {
    const rows = goldenRows<Golden>('a1111-chunks.json')
    expect(kinds(rows)).toBeGreaterThan(4)
    for (const { text, ids, ids_2 = ids, weights, weights_2 = weights } of rows) {
      const chunks = a1111Chunks(parsePrompt(text, 'a1111', false), first)
      expectChunks(chunks, ids, weights, text)
      expectChunks(repadded(chunks, second), ids_2, weights_2, text)
    }
  })
})

describe('the chunks of compel', () => {
  const rows = goldenRows<CompelGolden>('compel-chunks.json')

  it("equal compel's for both text encoders, with what it hides for weights below 1", () => {
    expect(kinds(rows)).toBeGreaterThan(4)
    expect(rows.filter(({ masked }) => masked.length > 1).length).toBeGreaterThan(5)
    for (const { text, ids, ids_2 = ids, weights, weights_2 = weights, masked, masked_2 = masked } of rows) {
      const fragments = parsePrompt(text, 'compel', false)
      const [one, two] = [first, second].map((tokenizer) => compelChunks(fragments, tokenizer))
      expectChunks(one!.chunks, ids, weights, text)
      expectChunks(two!.chunks, ids_2, weights_2, text)
      expect([one!.masked, two!.masked], text).toEqual([masked, masked_2])
    }
  })

  it('come with the pooled ids of the whole text as it is written', () => {
    for (const { text, pooled } of rows) expect(tokenizers.encode(text).ids_2).toEqual(pooled)
  })
})

describe('a chunk', () => {
  it('starts in the prompt where its first token does', () => {
    const prompt = `(${'red '.repeat(75)}:1.2)blue ${'green '.repeat(80)}`
    const starts = a1111Chunks(parsePrompt(prompt, 'a1111', false), first).map(({ start }) => start)
    expect(starts).toEqual([1, prompt.indexOf('blue'), prompt.indexOf('blue') + 5 + 6 * 74])
  })
})
