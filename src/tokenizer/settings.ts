/**
 * What a tokenizer folder's `tokenizer_config.json` and `special_tokens_map.json` say, read as
 * transformers reads them.
 * Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1874
 * and https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L460
 */
import type { AddedToken } from './added-tokens.js'

export interface TokenizerSettings {
  readonly bos: string
  readonly eos: string
  readonly pad: string
  /** How many ids the text encoder takes. */
  readonly maxLength: number
  readonly added: readonly AddedToken[]
}

type Json = Readonly<Record<string, unknown>>
type Value = string | Json

/** In the order in which transformers adds them; of two that are spelled alike the later one counts. */
const NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token']
const END = '<|endoftext|>'
const DEFAULTS: Json = { bos_token: '<|startoftext|>', eos_token: END, unk_token: END, pad_token: END }
/** The positions of CLIP's text encoders, for folders that do not say. */
const CLIP_POSITIONS = 77
/** transformers writes 10^30 for "no limit". */
const UNLIMITED = 1e9

/** @throws Error that names what is missing or cannot be honoured */
export function parseSettings(config: Json, specialTokensMap: Json): TokenizerSettings {
  const decoder = config['added_tokens_decoder'] as Readonly<Record<string, Json>> | undefined
  const named: Json = { ...DEFAULTS, ...config, ...(decoder === undefined ? asSpecial(specialTokensMap) : {}) }
  return {
    bos: contentOf(named, 'bos_token'),
    eos: contentOf(named, 'eos_token'),
    pad: contentOf(named, 'pad_token'),
    maxLength: parseMaxLength(config['model_max_length']),
    added: addedTokens(Object.values(decoder ?? {}), named)
  }
}

/** special_tokens_map.json does not say that its tokens are special ones. */
function asSpecial(map: Json): Json {
  const flagged = (value: unknown): unknown => (isToken(value) ? { ...value, special: true } : value)
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, flagged(value)]))
}

/** The tokens that `added_tokens_decoder` lists, and the named and extra ones that it does not. */
function addedTokens(listed: readonly Json[], named: Json): AddedToken[] {
  const added = new Map(listed.map((value) => [spelling(value), toAddedToken(value)]))
  const known = new Set(added.keys())
  const seen = new Set<string>()
  const extra = (named['extra_special_tokens'] ?? named['additional_special_tokens'] ?? []) as Value[]
  for (const value of [...NAMES.map((name) => named[name] as Value | null | undefined), ...extra]) {
    if (value === null || value === undefined || known.has(spelling(value))) continue
    // A token that comes again as it came before is not added again, so it does not count as later.
    const identity =
      JSON.stringify(isToken(value) ? toAddedToken(value) : value) + String(isToken(value) && value['special'])
    if (!seen.has(identity)) added.set(spelling(value), toAddedToken(value))
    seen.add(identity)
  }
  return [...added.values()]
}

function toAddedToken(value: Value): AddedToken {
  if (!isToken(value)) return { content: value, normalized: false }
  for (const flag of ['lstrip', 'rstrip', 'single_word']) {
    if (value[flag] === true)
      throw new Error(`the special token ${spelling(value)} has ${flag}, which this tokenizer does not know`)
  }
  const normalized = value['normalized'] ?? value['special'] !== true
  return { content: spelling(value), normalized: normalized === true }
}

function isToken(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function contentOf(named: Json, name: string): string {
  const value = named[name] as Value | null | undefined
  if (value === null || value === undefined) throw new Error(`tokenizer_config.json has no ${name}`)
  if (isToken(value) && typeof value['content'] !== 'string')
    throw new Error(`${name} has no content in tokenizer_config.json or special_tokens_map.json`)
  return spelling(value)
}

function spelling(value: Value): string {
  return isToken(value) ? String(value['content']) : value
}

/** How many ids, with the two that mark start and end. */
function parseMaxLength(value: unknown): number {
  if (typeof value !== 'number' || value >= UNLIMITED) return CLIP_POSITIONS
  if (!Number.isInteger(value) || value < 2)
    throw new Error(`tokenizer_config.json: model_max_length must be a whole number, 2 or more, not ${value}`)
  return value
}
