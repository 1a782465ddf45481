/** The cases of python-worker/tests/test_tokenizer_digest.py; parity/tokenizer/folders.py describes their fields. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ClipTokenizer } from '../../src/tokenizer/index.js'
import { readGolden } from './support.js'

interface Change {
  text?: string
  line_end?: string
  before?: string
  after?: string
  after_hex?: string
}
interface Case {
  name: string
  files: Record<string, Change | null>
  reads: boolean
  says?: string
  reference: { pad: number; ids: number[] } | null
}

const golden = readGolden<{ base: Record<string, string>; text: string; rows: Case[] }>('folders.json')

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterEach(() => rm(folder, { recursive: true }))

async function write(files: Case['files']): Promise<void> {
  for (const name of [...Object.keys(golden.base), 'tokenizer.json']) {
    const base = golden.base[name]
    const change = files[name] ?? (files[name] === null || base === undefined ? null : {})
    if (change === null) {
      await rm(join(folder, name), { force: true })
      continue
    }
    const { text = base ?? '', line_end = '\n', before = '', after = '', after_hex = '' } = change
    const body = Buffer.from(before + text.replaceAll('\n', line_end) + after)
    await writeFile(join(folder, name), Buffer.concat([body, Buffer.from(after_hex, 'hex')]))
  }
}

it.each(golden.rows)(
  'reads a folder like the worker and transformers: $name',
  async ({ files, reads, says, reference }) => {
    await write({})
    const { digest, padId, maxLength } = await ClipTokenizer.fromFolder(folder)
    await write(files)
    if (!reads) {
      await expect(ClipTokenizer.fromFolder(folder)).rejects.toThrow(says)
      await expect(ClipTokenizer.fromFolder(folder)).rejects.toThrow(folder)
      return
    }
    const tokenizer = await ClipTokenizer.fromFolder(folder)
    expect(tokenizer).toMatchObject({ digest, padId, maxLength })
    const { ids, length } = tokenizer.encode(golden.text)
    if (reference !== null) expect({ pad: tokenizer.padId, ids: ids.slice(0, length) }).toEqual(reference)
  }
)
