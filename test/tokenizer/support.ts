import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { BYTE_ALPHABET } from '../../src/tokenizer/byte-alphabet.js'
import { ClipTokenizer } from '../../src/tokenizer/clip-tokenizer.js'
import { readTokenizerFolder } from '../../src/tokenizer/folder.js'
import { Unicode } from '../../src/tokenizer/unicode.js'
import { Vocabulary } from '../../src/tokenizer/vocabulary.js'

/** The demo model, whose two tokenizer folders contain SDXL's own vocabulary. */
export const modelFolder = fileURLToPath(new URL('../../models/demo', import.meta.url))
export const unicode = new Unicode()

const folders = await Promise.all(
  ['tokenizer', 'tokenizer_2'].map((name) => readTokenizerFolder(`${modelFolder}/${name}`))
)
const [folder, folder2] = folders as [(typeof folders)[number], (typeof folders)[number]]
export const { bpe } = folder
export const config = [folder.config, folder2.config] as const
export const vocabulary = new Vocabulary(bpe)

const spelling = new Map(
  bpe.tokens.flatMap((token, id) => (token.startsWith('<|') ? [] : [[id, token.replace('</w>', ' ')] as const]))
)

/** One of the two tokenizers with another maximum length, e.g. to see all ids of a long text. */
export function tokenizerOf(maxLength: number, which: 0 | 1 = 0): ClipTokenizer {
  return new ClipTokenizer(vocabulary, { ...config[which], maxLength }, unicode)
}

/** All ids without padding. The text must fit the tokenizer. */
export function wholeIds(tokenizer: ClipTokenizer, text: string): number[] {
  const { ids, length, truncated } = tokenizer.encode(text)
  if (truncated) throw new Error(`${length} ids do not fit ${tokenizer.maxLength}`)
  return ids.slice(0, length)
}

/** Decodes ids to text with a space after each word, omitting special tokens. */
export function decode(ids: readonly number[]): string {
  const spelled = ids.map((id) => spelling.get(id) ?? '').join('')
  const bytes = Array.from(spelled, (character) => (character === ' ' ? 0x20 : BYTE_ALPHABET.indexOf(character)))
  return Buffer.from(bytes).toString()
}

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`golden/${name}`, import.meta.url), 'utf8')) as T
}
