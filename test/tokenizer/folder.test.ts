import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseVocabAndMerges } from '../../src/tokenizer/bpe-files.js'
import { BYTE_ALPHABET } from '../../src/tokenizer/byte-alphabet.js'
import { ClipTokenizer, SdxlTokenizers } from '../../src/tokenizer/index.js'
import { digestOf } from '../../src/tokenizer/vocabulary.js'
import { bpe } from './support.js'

const tokens = [...BYTE_ALPHABET, ...BYTE_ALPHABET.map((c) => `${c}</w>`), 'ab</w>', '<|startoftext|>', '<|endoftext|>']
const vocab = JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id])))
const merges = '#version: 0.2\na b</w>\n'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterEach(() => rm(folder, { recursive: true }))

async function write(contents: Record<string, string>): Promise<void> {
  await Promise.all(Object.entries(contents).map(([name, text]) => writeFile(join(folder, name), text)))
}

describe('a tokenizer folder', () => {
  it('needs only vocab.json and merges.txt', async () => {
    await write({ 'vocab.json': vocab, 'merges.txt': merges })
    const tokenizer = await ClipTokenizer.fromFolder(folder)
    expect(tokenizer).toMatchObject({ padId: 514, maxLength: 77 })
    expect(tokenizer.encode('AB a').ids.slice(0, 4)).toEqual([513, 512, tokens.indexOf('a</w>'), 514])
  })

  it("uses CLIP's 77 positions if model_max_length is huge", async () => {
    await write({
      'vocab.json': vocab,
      'merges.txt': merges,
      'tokenizer_config.json': '{"model_max_length": 1000000000000000019884624838656}'
    })
    expect((await ClipTokenizer.fromFolder(folder)).maxLength).toBe(77)
  })

  it.each([
    ['no vocabulary', { 'merges.txt': merges }, /vocab\.json is missing.*tokenizer\.json/],
    ['an empty tokenizer.json', { 'vocab.json': vocab, 'merges.txt': merges, 'tokenizer.json': '{}' }, /no model/],
    ['no merges', { 'vocab.json': vocab }, /merges\.txt is missing/],
    ['a vocabulary that is not JSON', { 'vocab.json': 'x', 'merges.txt': merges }, /JSON/],
    ['a vocabulary without all bytes', { 'vocab.json': '{"a": 0}', 'merges.txt': merges }, /has no token "Ā"/],
    ['a gap in the vocabulary', { 'vocab.json': '{"a": 0, "b": 2}', 'merges.txt': merges }, /no token with the id 1/],
    ['an id twice', { 'vocab.json': '{"a": 0, "b": 0}', 'merges.txt': merges }, /the id 0 twice/],
    ['an id that is not a number', { 'vocab.json': '{"a": "x"}', 'merges.txt': merges }, /the id "x"/],
    ['a merge of three tokens', { 'vocab.json': vocab, 'merges.txt': 'a b c' }, /"a b c", which is not two tokens/],
    ['a merge to an unknown token', { 'vocab.json': vocab, 'merges.txt': 'a c</w>' }, /has no token "ac<\/w>"/],
    [
      'an unknown pad',
      { 'vocab.json': vocab, 'merges.txt': merges, 'tokenizer_config.json': '{"pad_token": "[PAD]"}' },
      /no token "\[PAD\]"/
    ],
    [
      'no pad',
      { 'vocab.json': vocab, 'merges.txt': merges, 'tokenizer_config.json': '{"pad_token": null}' },
      /has no pad_token/
    ],
    [
      'a token with lstrip',
      {
        'vocab.json': vocab,
        'merges.txt': merges,
        'special_tokens_map.json': '{"pad_token": {"content": "!", "lstrip": true}}'
      },
      /! has lstrip/
    ],
    [
      'added_tokens.json',
      { 'vocab.json': vocab, 'merges.txt': merges, 'added_tokens.json': '{"<x>": 515}' },
      /added_tokens_decoder/
    ]
  ])('is refused with %s', async (_, contents, message) => {
    await write(contents as Record<string, string>)
    await expect(ClipTokenizer.fromFolder(folder)).rejects.toThrow(message)
    await expect(ClipTokenizer.fromFolder(folder)).rejects.toThrow(folder)
  })

  it('is required: a model without its folders is refused', async () => {
    await expect(SdxlTokenizers.fromModelFolder(folder)).rejects.toThrow(/tokenizer.vocab\.json is missing/)
  })
})

it('the digest depends on tokens, their order and merges, not on file formatting', () => {
  const digest = digestOf(parseVocabAndMerges(vocab, merges))
  const reversed = JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]).toReversed()), null, 2)
  expect(digestOf(parseVocabAndMerges(reversed, 'a b</w>'))).toBe(digest)
  expect(digestOf(parseVocabAndMerges(vocab, `${merges}\r\n`))).toBe(digest)
  expect(digestOf(parseVocabAndMerges(vocab, ''))).not.toBe(digest)
  expect(digestOf(bpe)).not.toBe(digest)
})
