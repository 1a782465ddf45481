/** Equality with transformers' CLIPTokenizer. Scripts in python-worker/parity/tokenizer/ generate the golden files. */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { parseAddedTokens } from '../../src/tokenizer/bpe-files.js'
import { ClipTokenizer, SdxlTokenizers } from '../../src/tokenizer/index.js'
import { parseConfig } from '../../src/tokenizer/config.js'
import { bpe, modelFolder, readGolden, config, tokenizerOf, unicode, vocabulary, wholeIds } from './support.js'

interface TextGolden {
  text: string
  ids: number[]
  ids_2?: number[]
}
interface ConfigGolden {
  config: Record<string, unknown>
  map: Record<string, unknown>
  /** The added tokens of `tokenizer.json`, in rows of folders that have one. */
  added?: Record<string, unknown>[]
  pad: number
  ids: number[]
}
interface SavedGolden {
  name: string
  files: { 'tokenizer.json': { model: object }; 'tokenizer_config.json': object }
}

const texts = readGolden<{ digest: string; rows: TextGolden[] }>('clip-ids.json')
const LONGER_THAN_ANY = 8192

describe('ids of texts', () => {
  it('cover more than 2,000 texts, over 200 with different ids in the second tokenizer', () => {
    expect(texts.rows.length).toBeGreaterThan(2000)
    expect(texts.rows.filter((row) => row.ids_2 !== undefined).length).toBeGreaterThan(200)
  })

  it.each([0, 1] as const)('equal the reference before truncation and padding (tokenizer %i)', (which) => {
    const tokenizer = tokenizerOf(LONGER_THAN_ANY, which)
    const expected = (row: TextGolden): number[] => (which === 1 ? row.ids_2 : undefined) ?? row.ids
    const other = texts.rows.filter((row) => wholeIds(tokenizer, row.text).join() !== expected(row).join())
    expect(other).toEqual([])
  })

  it('equal the reference after truncation to 77 and padding with 49407 and 0', async () => {
    const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
    const fit = (ids: number[], pad: number): number[] =>
      Array.from({ length: 77 }, (_, i) => (i === Math.min(ids.length, 77) - 1 ? 49_407 : (ids[i] ?? pad)))
    for (const { text, ids, ids_2 = ids } of texts.rows) {
      const encoded = tokenizers.encode(text)
      const length = Math.max(ids.length, ids_2.length)
      expect(encoded).toMatchObject({ ids: fit(ids, 49_407), ids_2: fit(ids_2, 0), length, truncated: length > 77 })
    }
  })
})

it('treats every Unicode character like the reference', { timeout: 300_000 }, () => {
  const { block, rows } = readGolden<{ block: number; rows: string[] }>('every-character.json')
  const tokenizer = tokenizerOf(16 * block)
  const other = rows.flatMap((expected, index) => {
    const probes = Array.from({ length: block }, (_, i) => index * block + i)
      .filter(isScalar)
      .map(probe)
    const ids = wholeIds(tokenizer, probes.join(' ')).join()
    const digest = createHash('sha256').update(ids).digest('hex').slice(0, 16)
    return digest === expected ? [] : [`U+${(index * block).toString(16)}`]
  })
  expect(rows.length * block).toBe(0x11_00_00)
  expect(other).toEqual([])
})

it('reads special tokens from a folder like the reference', () => {
  const { text, rows } = readGolden<{ text: string; rows: ConfigGolden[] }>('settings.json')
  for (const { config, map, added, pad, ids } of rows) {
    const listed = parseAddedTokens('tokenizer.json', added)
    const tokenizer = new ClipTokenizer(vocabulary, { ...parseConfig(config, map, listed), maxLength: 200 }, unicode)
    const found = { config, map, added, pad: tokenizer.padId, ids: wholeIds(tokenizer, text) }
    expect(found).toEqual({ config, map, added, pad, ids })
  }
  expect(rows.filter(({ added }) => added === undefined).length).toBeGreaterThan(30)
  expect(rows.filter(({ added }) => added !== undefined).length).toBeGreaterThan(15)
})

it('reads a model that transformers 5 saved, with tokenizer.json, like the original', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'saved-'))
  try {
    const { rows } = readGolden<{ rows: SavedGolden[] }>('saved.json')
    for (const { name, files } of rows) {
      await mkdir(join(folder, name))
      const { 'tokenizer.json': content, ...others } = files
      const model = {
        ...content.model,
        vocab: Object.fromEntries(bpe.tokens.map((token, id) => [token, id])),
        merges: bpe.merges.map((merge) => merge.split(' '))
      }
      const written = { ...others, 'tokenizer.json': { ...content, model } }
      for (const [file, value] of Object.entries(written))
        await writeFile(join(folder, name, file), JSON.stringify(value))
    }
    const [saved, original] = await Promise.all([folder, modelFolder].map((f) => SdxlTokenizers.fromModelFolder(f)))
    const identity = ({ digest, padId, maxLength }: ClipTokenizer): unknown => ({ digest, padId, maxLength })
    expect(saved?.tokenizers.map(identity)).toEqual(original?.tokenizers.map(identity))
    const different = texts.rows.filter(({ text }) => !isDeepStrictEqual(saved?.encode(text), original?.encode(text)))
    expect(different).toEqual([])
  } finally {
    await rm(folder, { recursive: true })
  }
})

it('computes the same vocabulary digest as the worker', () => {
  expect(vocabulary.digest).toBe(texts.digest)
  expect(vocabulary.digest).toBe('05f6f898f4f9c824c37b7dcacccc3d2e3ebab7b5a76de05da606127062a08e0e')
})

it("reads SDXL's maximum lengths", () => {
  expect(config.map(({ maxLength }) => maxLength)).toEqual([77, 77])
})

function isScalar(point: number): boolean {
  return point < 0xd8_00 || point >= 0xe0_00
}

/** Like `probe` in the script that generates the file. */
function probe(point: number): string {
  const c = String.fromCodePoint(point)
  if (point >= 0x4_00_00 && point >> 16 !== 0xe) return `a${c}1`
  return `a${c}b 1\u0301${c}\u0334`
}
