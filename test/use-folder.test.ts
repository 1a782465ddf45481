import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { makeFolder, tryFolder, useFolder } from '../src/use-folder.js'

async function fresh(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return folder
}

it('makes a folder and those above it, also when several do so at once, and again', async () => {
  const folder = join(await fresh(), 'a/b/c/d')
  await Promise.all(Array.from({ length: 20 }, () => makeFolder(folder)))
  await makeFolder(folder)
  expect((await stat(folder)).isDirectory()).toBe(true)
  await tryFolder(folder)
  expect(await readdir(folder)).toEqual([])
})

it.each(['/proc/x', '/proc/x/y', '/proc/version', '/proc/version/x'])(
  'does not make %s, and says so',
  async (folder) => {
    await expect(makeFolder(folder)).rejects.toThrow(/ENOENT|EEXIST|ENOTDIR/)
  }
)

it('does not take a file for a folder', async () => {
  const file = join(await fresh(), 'file')
  await writeFile(file, '')
  await expect(makeFolder(file)).rejects.toMatchObject({ code: 'EEXIST' })
  await expect(makeFolder(join(file, 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' })
})

it('an error names the setting, and says why and what to do', async () => {
  expect(await useFolder('SETTING=/x', async () => 7)).toBe(7)
  const use = () => tryFolder('/proc')
  await expect(useFolder('SETTING=/proc', use)).rejects.toThrow(
    /^SETTING=\/proc: no files can be written there: E\w+.*\. Give a folder/
  )
})

it('gives up on a disk that does not answer', async () => {
  const never = () => new Promise<void>(() => undefined)
  await expect(useFolder('SETTING=/x', never, 20)).rejects.toThrow(/^SETTING=\/x: .* it did not answer within 0.02 s/)
})
