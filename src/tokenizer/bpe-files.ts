import { isObject, type Json } from '../is-object.js'

/**
 * Parses a byte-level BPE from `vocab.json` and `merges.txt`, or from `tokenizer.json`, which transformers prefers.
 * Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L105
 *
 * CLIPTokenizer takes the vocabulary, merges and added tokens of a `tokenizer.json`, and builds the normalizer,
 * pre-tokenizer and post-processor itself, whatever the file says.
 */
import { parseObject } from './text-file.js'

/** The content of a tokenizer's files. */
export interface Bpe {
  /** In order of their ids, which are consecutive from 0. */
  readonly tokens: readonly string[]
  /** Pairs of tokens with a space between, in order of rank. */
  readonly merges: readonly string[]
  /** The name of the file that has the tokens, for messages. */
  readonly file: string
}

/** A lone surrogate, which UTF-8 cannot encode. */
const HALF_PAIR = /\p{Surrogate}/u

/** @throws Error that names the file and what is wrong with it */
export function parseVocabAndMerges(vocab: string, merges: string): Bpe {
  const file = 'vocab.json'
  return { tokens: parseTokens(file, parseObject(file, vocab)), merges: parseMergeLines('merges.txt', merges), file }
}

/** @throws Error that names the key and what is wrong with it */
export function parseTokenizerJson(text: string): { bpe: Bpe; addedTokens: Json[] } {
  const file = 'tokenizer.json'
  const content = parseObject(file, text)
  const model = content['model']
  if (!isObject(model) || !isObject(model['vocab']) || !Array.isArray(model['merges']))
    throw new Error(`${file} has no model with vocab and merges`)
  if ((model['type'] ?? 'BPE') !== 'BPE')
    throw new Error(`${file}: model.type is ${JSON.stringify(model['type'])}, but CLIP's tokenizer is a BPE`)
  for (const name of ['truncation', 'padding']) {
    const settings = content[name]
    if (isObject(settings) && (settings['direction'] ?? 'Right') !== 'Right')
      throw new Error(
        `${file}: ${name}.direction is ${JSON.stringify(settings['direction'])}; only "Right" is supported`
      )
  }
  const bpe = {
    tokens: parseTokens(file, model['vocab']),
    merges: model['merges'].map((merge) => parseMerge(file, merge)),
    file
  }
  return { bpe, addedTokens: parseAddedTokens(file, content['added_tokens']) }
}

function parseTokens(file: string, vocabulary: Json): string[] {
  const tokens: string[] = []
  for (const [token, id] of Object.entries(vocabulary)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0)
      throw new Error(`${file} has the id ${JSON.stringify(id)}, which is not a whole number`)
    if (HALF_PAIR.test(token)) throw new Error(`${file} has a token that is not Unicode: ${JSON.stringify(token)}`)
    if (tokens[id] !== undefined) throw new Error(`${file} gives the id ${id} twice`)
    tokens[id] = token
  }
  const gap = tokens.findIndex((token) => token === undefined)
  if (gap >= 0) throw new Error(`${file} has no token with the id ${gap}, but has higher ids`)
  return tokens
}

/** Splits lines at LF or CRLF, as transformers does. It would take a file with CR only for one comment line. */
function parseMergeLines(file: string, text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.some((line) => line.includes('\r')))
    throw new Error(`${file} has a CR without an LF: save it with LF or CRLF line ends`)
  const merges = lines.filter((line) => line !== '' && !line.startsWith('#version'))
  const wrong = merges.find((line) => line.split(' ').length !== 2)
  if (wrong !== undefined) throw new Error(`${file} has the line ${JSON.stringify(wrong)}, which is not two tokens`)
  return merges
}

/** A merge of `tokenizer.json`: older versions of tokenizers write "a b", newer ones ["a", "b"]. */
function parseMerge(file: string, merge: unknown): string {
  const pair = typeof merge === 'string' ? merge.split(' ') : merge
  if (Array.isArray(pair) && pair.length === 2 && pair.every((token) => typeof token === 'string' && !/ /.test(token)))
    return pair.join(' ')
  throw new Error(`${file} has the merge ${JSON.stringify(merge)}, which is not two tokens`)
}

/** In order of their ids, in which transformers adds them. */
export function parseAddedTokens(file: string, value: unknown): Json[] {
  const tokens = value ?? []
  if (!Array.isArray(tokens) || !tokens.every((token) => isObject(token) && typeof token['content'] === 'string'))
    throw new Error(`${file}: added_tokens must be a list of objects with content`)
  return tokens.toSorted((a: Json, b: Json) => Number(a['id']) - Number(b['id']))
}
