import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { FolderStore } from '../../src/results/folder.js'
import { Signer } from '../../src/results/signature.js'

const forever = new AbortController().signal
const png = (bytes: number) => ({ bytes: Buffer.alloc(bytes, 1), type: 'image/png' })

async function open({ keep = 3600, maxBytes = 1000 } = {}) {
  const folder = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'made', 'by it')
  const signer = new Signer('secret')
  const store = await FolderStore.open({ folder, signer, path: '/results/', keep, maxBytes })
  onTestFinished(() => {
    store.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { folder, store, signer }
}

/** Makes a file and its folders older. */
function age(folder: string, name: string, seconds: number): void {
  const then = Date.now() / 1000 - seconds
  for (let path = name; path !== ''; path = path.split('/').slice(0, -1).join('/'))
    utimesSync(join(folder, path), then, then)
}

describe('a folder of results', () => {
  it('gives back what was stored, and nothing else', async () => {
    const { store } = await open()
    await store.put('team/job/0.png', png(100), forever)
    const { handle, bytes } = (await store.read('team/job/0.png'))!
    expect([bytes, (await handle.readFile()).equals(Buffer.alloc(100, 1))]).toEqual([100, true])
    await handle.close()
    expect(await store.read('team/job/1.png')).toBeUndefined()
    expect(await store.read('team/job/0.png/0.png')).toBeUndefined()
  })

  it('takes no more than its bytes, counts what it finds, and leaves no part of a file', async () => {
    const { store, folder } = await open()
    await store.put('~/a/0.png', png(600), forever)
    await expect(store.put('~/b/0.png', png(500), forever)).rejects.toMatchObject({
      code: 'STORAGE_FULL',
      statusCode: 507,
      retryAfter: 60
    })
    await store.put('~/b/0.png', png(400), forever)
    expect(store.bytes).toBe(1000)
    const again = await FolderStore.open({ folder, signer: new Signer('x'), path: '/', keep: 3600, maxBytes: 1000 })
    expect(again.bytes).toBe(1000)
    again.close()
    expect(readdirSync(folder, { recursive: true }).toSorted()).toEqual([
      '~',
      '~/a',
      '~/a/0.png',
      '~/b',
      '~/b/0.png',
      '~identity'
    ])
  })

  it('deletes what is old, with what killed processes left, and the folders that are empty then', async () => {
    const { store, folder } = await open({ keep: 1000 })
    for (const name of ['old/a/0.png', 'new/b/0.png']) await store.put(name, png(100), forever)
    mkdirSync(join(folder, 'killed/c'), { recursive: true })
    for (const name of ['0.png.x.unfinished', '1.png.x.unfinished'])
      writeFileSync(join(folder, 'killed/c', name), 'abc')
    age(folder, 'old/a/0.png', 1001)
    age(folder, 'killed/c/0.png.x.unfinished', 301)
    await store.sweep()
    // An empty folder is deleted when it has been empty for a while: another process may be about to write into it.
    for (const name of ['old/a', 'old']) {
      age(folder, name, 301)
      await store.sweep()
    }
    expect(readdirSync(folder, { recursive: true }).toSorted()).toEqual([
      'killed',
      'killed/c',
      'killed/c/1.png.x.unfinished',
      'new',
      'new/b',
      'new/b/0.png',
      '~identity'
    ])
    expect(store.bytes).toBe(103)
  })

  it('deletes a file with its folder, and counts its bytes back; a file that is stored again counts once', async () => {
    const { store, folder } = await open()
    for (const bytes of [600, 400]) await store.put('~/a/0.png', png(bytes), forever)
    await store.put('~/a/1.png', png(500), forever)
    expect(store.bytes).toBe(900)
    expect((await store.get('~/a/1.png', 500, forever))!.length).toBe(500)
    await expect(store.get('~/a/1.png', 499, forever)).rejects.toThrow('more than its 499 bytes')
    await store.delete('~/a/0.png')
    expect([store.bytes, readdirSync(join(folder, '~/a'))]).toEqual([500, ['1.png']])
    for (const name of ['~/a/1.png', '~/a/1.png', '~/b/0.png']) await store.delete(name)
    expect([store.bytes, readdirSync(folder).toSorted()]).toEqual([0, ['~', '~identity']])
    expect(readdirSync(join(folder, '~'))).toEqual([])
    expect(await store.get('~/a/1.png', 500, forever)).toBeUndefined()
  })

  it('is the same for all that share it, however many begin at once, and another one elsewhere', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const options = { folder, signer: new Signer('x'), path: '/', keep: 1, maxBytes: 1 }
    const all = await Promise.all(Array.from({ length: 10 }, () => FolderStore.open(options)))
    for (const store of all) store.close()
    expect(new Set(all.map(({ identity }) => identity)).size).toBe(1)
    const { store } = await open()
    expect(store.identity).not.toBe(all[0]!.identity)
    utimesSync(folder, 1, 1)
    await all[0]!.sweep()
    const later = await FolderStore.open(options)
    later.close()
    expect(later.identity).toBe(all[0]!.identity)
  })

  it('counts nothing for a file that could not be written', async () => {
    const { store, folder } = await open()
    rmSync(folder, { recursive: true })
    writeFileSync(folder, 'not a folder')
    await expect(store.put('~/a/0.png', png(100), forever)).rejects.toThrow(/ENOTDIR|EEXIST/)
    await expect(store.put('~/a/0.png', png(100), AbortSignal.abort())).rejects.toThrow()
    expect(store.bytes).toBe(0)
  })

  it('refuses at the start a folder that takes no files', async () => {
    const { folder } = await open()
    const options = { signer: new Signer('x'), path: '/', keep: 1, maxBytes: 1 }
    writeFileSync(join(folder, 'file'), '')
    await expect(FolderStore.open({ ...options, folder: join(folder, 'file') })).rejects.toThrow(/EEXIST|ENOTDIR/)
  })

  it('signs URLs for their time', async () => {
    const { store, signer } = await open()
    const now = Date.now() / 1000
    const url = new URL(await store.urlOf('~/a b/0.png', 60), 'http://x')
    expect(url.pathname).toBe('/results/~/a%20b/0.png')
    const expires = Number(url.searchParams.get('expires'))
    expect(expires).toBeGreaterThanOrEqual(Math.floor(now) + 60)
    expect(expires).toBeLessThanOrEqual(now + 62)
    expect(signer.verify('~/a b/0.png', { expires, signature: url.searchParams.get('signature')! })).toBe(true)
  })
})
