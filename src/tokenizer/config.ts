/**
 * Reads `tokenizer_config.json` and `special_tokens_map.json` with the same meaning as transformers.
 * Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_base.py#L1874
 * and https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/tokenization_utils_tokenizers.py#L460
 */
import type { AddedToken } from './added-tokens.js'
import { isObject, type Json } from '../is-object.js'

export interface TokenizerConfig {
  readonly bos: string
  readonly eos: string
  readonly pad: string
  /** Number of ids that the text encoder takes. */
  readonly maxLength: number
  readonly added: readonly AddedToken[]
}

type Value = string | Json

/** In the order in which transformers adds them. If two have the same spelling, the later one wins. */
const NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token']
const END = '<|endoftext|>'
const DEFAULTS: Json = { bos_token: '<|startoftext|>', eos_token: END, unk_token: END, pad_token: END }
/** Positions of CLIP's text encoders, the default for folders that set no limit. */
const CLIP_POSITIONS = 77
/** transformers writes 10^30 for "no limit". */
const UNLIMITED = 1e9

/** Keys of which one value is supported. */
const FIXED = { padding_side: 'right', truncation_side: 'right', split_special_tokens: false }

/**
 * @param listed the added tokens of `tokenizer.json`, which count unless the config has its own list
 * @throws Error that names what is missing or unsupported
 */
export function parseConfig(config: Json, specialTokensMap: Json, listed: readonly Json[] = []): TokenizerConfig {
  for (const [key, supported] of Object.entries(FIXED)) {
    if ((config[key] ?? supported) !== supported)
      throw new Error(
        `tokenizer_config.json: ${key} is ${JSON.stringify(config[key])}; only ${JSON.stringify(supported)} is supported`
      )
  }
  const decoder = config['added_tokens_decoder'] as Readonly<Record<string, Json>> | undefined
  const named: Json = { ...DEFAULTS, ...config, ...(decoder === undefined ? asSpecial(specialTokensMap) : {}) }
  return {
    bos: contentOf(named, 'bos_token'),
    eos: contentOf(named, 'eos_token'),
    pad: contentOf(named, 'pad_token'),
    maxLength: parseMaxLength(config['model_max_length']),
    added: addedTokens(decoder === undefined ? listed : Object.values(decoder), named)
  }
}

/** Marks the tokens as special, which special_tokens_map.json itself does not. */
function asSpecial(map: Json): Json {
  const flagged = (value: unknown): unknown => (isObject(value) ? { ...value, special: true } : value)
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, flagged(value)]))
}

/** The listed tokens, then the named and extra tokens that the list lacks. */
function addedTokens(listed: readonly Json[], named: Json): AddedToken[] {
  const added = new Map(listed.map((value) => [spelling(value), toAddedToken(value)]))
  const known = new Set(added.keys())
  const seen = new Set<string>()
  const extra = (named['extra_special_tokens'] ?? named['additional_special_tokens'] ?? []) as Value[]
  for (const value of [...NAMES.map((name) => named[name] as Value | null | undefined), ...extra]) {
    if (value === null || value === undefined || known.has(spelling(value))) continue
    // Like transformers, skip an identical repeat, so that it does not count as the later of two.
    const identity =
      JSON.stringify(isObject(value) ? toAddedToken(value) : value) + String(isObject(value) && value['special'])
    if (!seen.has(identity)) added.set(spelling(value), toAddedToken(value))
    seen.add(identity)
  }
  return [...added.values()]
}

function toAddedToken(value: Value): AddedToken {
  if (!isObject(value)) return { content: value, normalized: false }
  for (const flag of ['lstrip', 'rstrip', 'single_word']) {
    if (value[flag] === true)
      throw new Error(`the special token ${spelling(value)} has ${flag}, which this tokenizer does not support`)
  }
  const normalized = value['normalized'] ?? value['special'] !== true
  return { content: spelling(value), normalized: normalized === true }
}

function contentOf(named: Json, name: string): string {
  const value = named[name] as Value | null | undefined
  if (value === null || value === undefined) throw new Error(`tokenizer_config.json has no ${name}`)
  if (isObject(value) && typeof value['content'] !== 'string')
    throw new Error(`${name} has no content in tokenizer_config.json or special_tokens_map.json`)
  return spelling(value)
}

function spelling(value: Value): string {
  return isObject(value) ? String(value['content']) : value
}

/** Number of ids, including start and end. */
function parseMaxLength(value: unknown): number {
  if (typeof value !== 'number' || value >= UNLIMITED) return CLIP_POSITIONS
  if (!Number.isInteger(value) || value < 2)
    throw new Error(`tokenizer_config.json: model_max_length must be a whole number, 2 or more, not ${value}`)
  return value
}
