/** Names of embeddings in prompts, against the references. python-worker/parity/embeddings/make_names.py made the golden file. */
import { describe, expect, it } from 'vitest'
import { a1111Chunks } from '../../src/chunks/a1111.js'
import { compelChunks } from '../../src/chunks/compel.js'
import { chunksOf } from '../../src/chunks/index.js'
import { parsePrompt } from '../../src/prompt/index.js'
import { EmbeddingNames, SdxlTokenizers } from '../../src/tokenizer/index.js'
import { modelFolder, readGolden, tokenizerOf } from '../tokenizer/support.js'

interface Golden {
  vectors: Record<string, number>
  rows: { text: string; ids: number[]; ids_2?: number[] }[]
  compel: { text: string; ids: number[][]; ids_2: number[][]; weights: number[][] }[]
}

const golden = readGolden<Golden>('embedding-names.json')
const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
const [first, second] = tokenizers.tokenizers
const FIRST_ID = 49_408
const named = (vectors: Record<string, number>) =>
  tokenizers.namesOf(Object.entries(vectors).map(([name, count]) => ({ name, vectors: count })))!
const names = named(golden.vectors)

describe('in plain prompts', () => {
  it("names are found as diffusers' tokenizers find them", () => {
    expect(golden.rows.length).toBeGreaterThan(200)
    expect(golden.rows.filter(({ ids }) => ids.some((id) => id >= FIRST_ID)).length).toBeGreaterThan(150)
    expect(golden.rows.some(({ ids_2 }) => ids_2 !== undefined)).toBe(true)
    for (const { text, ids, ids_2 = ids } of golden.rows) {
      expect(first.tokens(text, new Map(), names).ids, JSON.stringify(text)).toEqual(ids)
      expect(second.tokens(text, new Map(), names).ids, JSON.stringify(text)).toEqual(ids_2)
    }
  })

  it('begin where they are written, and every vector does', () => {
    const { ids, starts } = first.tokens('a fox in qzArt', new Map(), names)
    expect(ids.slice(3)).toEqual([0, 1, 2].map((index) => FIRST_ID + 1 + index))
    expect(starts).toEqual([0, 2, 6, 9, 9, 9])
  })

  it('have all their vectors in any case, where diffusers has the first one alone', () => {
    expect(first.tokens('QZART', new Map(), names).ids).toEqual(first.tokens('qzart', new Map(), names).ids)
  })

  it('are cut with the text', () => {
    const text = 'fox '.repeat(74) + 'qzart'
    const [{ chunks } = { chunks: [] }] = chunksOf(text, [0], { syntax: 'plain', negative: false, names }, tokenizers)
    expect(chunks.map(({ tokens }) => tokens)).toEqual([75, 2])
    expect(chunks[1]!.start).toBe(text.indexOf('qzart'))
  })
})

describe('in prompts for compel', () => {
  it("names have the ids, the weights and the chunks of compel's manager of textual inversions", () => {
    for (const { text, ids, ids_2, weights } of golden.compel) {
      const fragments = parsePrompt(text, 'compel', false)
      const [one, two] = [first, second].map((tokenizer) => compelChunks(fragments, tokenizer, names).chunks)
      expect(
        one!.map((chunk) => chunk.ids),
        text
      ).toEqual(ids)
      expect(
        two!.map((chunk) => chunk.ids),
        text
      ).toEqual(ids_2)
      const rounded = one!.map((chunk) => chunk.weights.map((weight) => Number(weight.toFixed(6))))
      expect(rounded, text).toEqual(weights)
    }
  })
})

/** By hand, from modules/sd_hijack_clip.py and modules/textual_inversion/textual_inversion.py of the web UI 1.10.1. */
describe('in prompts for a1111', () => {
  const own = named({ art: 3, 'art deco': 2, big: 40, 'bad_hands-5': 2, ',x': 2, ink: 1 })
  const ids = (name: string): string[] => {
    const list = Object.entries({ art: 3, 'art deco': 2, big: 40, 'bad_hands-5': 2, ',x': 2, ink: 1 })
    return list.find(([each]) => each === name) === undefined
      ? []
      : Array.from({ length: list.find(([each]) => each === name)![1] }, (_, index) => `${name}:${index}`)
  }
  const vectorOf = new Map(
    own
      .usedIn(Array.from({ length: 100 }, (_, index) => FIRST_ID + index))
      .flatMap(({ embedding, ids: all }) => all.map((id, index) => [id, `${embedding.name}:${index}`] as const))
  )
  /** Each chunk's tokens as text, with the weights. */
  const read = (text: string) =>
    a1111Chunks(parsePrompt(text, 'a1111', false), first, own).map((chunk) => ({
      words: chunk.ids.slice(1, 1 + chunk.tokens).map((id) => vectorOf.get(id) ?? first.spelling(id)),
      weights: chunk.weights.slice(1, 1 + chunk.tokens)
    }))
  const words = (text: string) => read(text).map((chunk) => chunk.words)
  const repeated = (word: string, count: number) => Array.from({ length: count }, () => word)

  it.each([
    ['a name is the tokens that it has', 'an art fox', ['an</w>', ...ids('art'), 'fox</w>']],
    ['in any case', 'ART', ids('art')],
    ['not in a longer word', 'party artful', ['party</w>', 'art', 'ful</w>']],
    ['whatever is between its tokens', 'bad _ hands -5', ids('bad_hands-5')],
    ['the longest first', 'art deco, art', [...ids('art deco'), ',</w>', ...ids('art')]],
    ['twice', 'ink ink', [...ids('ink'), ...ids('ink')]],
    ['with a number behind it', 'art_1', [...ids('art'), '_</w>', '1</w>']]
  ])('%s', (_, text, expected) => {
    expect(words(text)).toEqual([expected])
  })

  it('all its vectors have the weight of the name, which brackets may not split', () => {
    expect(read('(art:1.5) fox')).toEqual([{ words: [...ids('art'), 'fox</w>'], weights: [1.5, 1.5, 1.5, 1] }])
    expect(words('(art:1.5) deco')).toEqual([[...ids('art'), 'deco</w>']])
  })

  it('no chunk splits it', () => {
    const fox = (count: number) => 'fox '.repeat(count)
    expect(words(`${fox(72)}art fox`)).toEqual([[...repeated('fox</w>', 72), ...ids('art')], ['fox</w>']])
    expect(words(`${fox(73)}art fox`)).toEqual([repeated('fox</w>', 73), [...ids('art'), 'fox</w>']])
    expect(words('big big big')).toEqual([ids('big'), ids('big'), ids('big')])
  })

  it('moves to the next chunk with the text after a comma', () => {
    const text = `${'fox '.repeat(70)}, art fox fox`
    expect(words(text)).toEqual([
      [...repeated('fox</w>', 70), ',</w>'],
      [...ids('art'), 'fox</w>', 'fox</w>']
    ])
  })

  it('is no comma where it begins with one', () => {
    const text = `${'fox '.repeat(70)},x fox fox fox fox`
    expect(words(text)).toEqual([
      [...repeated('fox</w>', 70), ...ids(',x'), 'fox</w>', 'fox</w>', 'fox</w>'],
      ['fox</w>']
    ])
  })
})

describe('a name in a folder', () => {
  const list = [
    { name: 'art', vectors: 1 },
    { name: 'one/ink', vectors: 1 },
    { name: 'one/oil', vectors: 1 },
    { name: 'two/art', vectors: 1 },
    { name: 'two/oil', vectors: 1 }
  ]
  const folders = new EmbeddingNames(list, FIRST_ID)
  const usedIn = (text: string) =>
    (['plain', 'a1111', 'compel'] as const).map((syntax) => {
      const [encoder] = chunksOf(text, [0], { syntax, negative: false, names: folders }, tokenizers)
      return folders.usedIn(encoder!.chunks.flatMap((chunk) => chunk.ids)).map(({ embedding }) => embedding.name)
    })

  it('is the whole path, or its last part if only one has it', () => {
    const all = (name: string) => [[name], [name], [name]]
    expect(usedIn('one/ink')).toEqual(all('one/ink'))
    expect(usedIn('an ink fox')).toEqual(all('one/ink'))
    expect(usedIn('two/oil')).toEqual(all('two/oil'))
    expect(usedIn('an art fox')).toEqual(all('art'))
    expect(usedIn('two/art')).toEqual(all('two/art'))
    expect(usedIn('an oil fox')).toEqual([[], [], []])
  })
})

describe('many names', () => {
  it('are found in prompts of any length', () => {
    const many = Array.from({ length: 1000 }, (_, index) => ({ name: `${'a'.repeat(100)}${index}`, vectors: 75 }))
    const found = new EmbeddingNames(many, FIRST_ID)
    const tokenizer = tokenizerOf(77)
    for (const text of ['a'.repeat(32_000), 'a '.repeat(16_000), `a${' '.repeat(31_998)}b`]) {
      const { ids } = tokenizer.tokens(text, new Map(), found)
      expect(found.usedIn(ids)).toEqual([])
    }
    expect(found.usedIn(tokenizer.tokens(`x ${'A'.repeat(100)}999_74`, new Map(), found).ids)).toMatchObject([
      { embedding: many[999] }
    ])
  })
})
