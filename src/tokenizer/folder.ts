/** Reads the tokenizer folder of a diffusers model. No other module of the tokenizer touches the disk. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseTokenizerJson, parseVocabAndMerges, type Bpe } from './bpe-files.js'
import { parseConfig, type TokenizerConfig } from './config.js'
import { decodeText, parseObject } from './text-file.js'

export interface TokenizerFolder {
  readonly bpe: Bpe
  readonly config: TokenizerConfig
}

/** @throws Error that names the folder and what is wrong with it */
export async function readTokenizerFolder(folder: string): Promise<TokenizerFolder> {
  // Sequential, so that the error always names the first of several missing files.
  const json = await readOptional(folder, 'tokenizer.json')
  const vocab = json === undefined ? await readRequired(folder, 'vocab.json') : ''
  const merges = json === undefined ? await readRequired(folder, 'merges.txt') : ''
  const config = await readOptional(folder, 'tokenizer_config.json')
  const specialTokensMap = await readOptional(folder, 'special_tokens_map.json')
  const addedTokensFile = await readOptional(folder, 'added_tokens.json')
  return explain(folder, () => {
    if (addedTokensFile !== undefined) {
      throw new Error(
        'added_tokens.json is not supported: list its tokens in tokenizer_config.json under added_tokens_decoder'
      )
    }
    const { bpe, addedTokens } =
      json === undefined ? { bpe: parseVocabAndMerges(vocab, merges), addedTokens: [] } : parseTokenizerJson(json)
    const parsed = parseConfig(
      parseObject('tokenizer_config.json', config ?? '{}'),
      parseObject('special_tokens_map.json', specialTokensMap ?? '{}'),
      addedTokens
    )
    return { bpe, config: parsed }
  })
}

/** Calls `build` and prefixes the message of any error with the folder. */
export function explain<T>(folder: string, build: () => T): T {
  try {
    return build()
  } catch (error) {
    throw new Error(`${folder}: ${(error as Error).message}`, { cause: error })
  }
}

async function readRequired(folder: string, name: string): Promise<string> {
  const text = await readOptional(folder, name)
  if (text !== undefined) return text
  throw new Error(
    `${join(folder, name)} is missing. A tokenizer folder needs tokenizer.json, or vocab.json and merges.txt`
  )
}

async function readOptional(folder: string, name: string): Promise<string | undefined> {
  const path = join(folder, name)
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new Error(`${path} cannot be read: ${error.message}`, { cause: error })
  })
  return bytes === undefined ? undefined : decodeText(path, bytes)
}
