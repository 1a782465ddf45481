import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parseLocation } from '../../src/results/location.js'
import { openStore } from '../../src/results/open.js'
import type { FolderOptions } from '../../src/results/folder.js'
import { shareBucket } from './buckets.js'

// What these servers do not check: signatures (moto, unless told to) and when URLs end (both).
describe.each(['s3', 'gs'] as const)('a bucket of %s', (kind) => {
  let location: string
  shareBucket(kind, (given) => {
    location = given
  })
  const open = (value = location) => openStore(parseLocation(value), {} as FolderOptions)
  const forever = new AbortController().signal

  it('gives a file to whoever has its URL, as it was stored', async () => {
    const store = await open()
    const bytes = randomBytes(300_000)
    await store.put('team-a/job/0.png', { bytes, type: 'image/png' }, forever)
    const url = new URL(await store.urlOf('team-a/job/0.png', 60))
    const answer = await fetch(url)
    expect(answer.status).toBe(200)
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true)
    expect(answer.headers.get('content-type')).toBe('image/png')
    expect(url.pathname).toBe('/images/easel/team-a/job/0.png')
    const prefix = kind === 's3' ? 'X-Amz' : 'X-Goog'
    expect(url.searchParams.get(`${prefix}-Expires`)).toMatch(/^(59|60)$/)
    expect(url.searchParams.get(`${prefix}-Signature`)).toMatch(/^[0-9a-f]{64,}$/)
    store.close()
  })

  it('takes the same name again', async () => {
    const store = await open()
    const file = { bytes: Buffer.from('the same'), type: 'image/webp' }
    await store.put('~/job/1.webp', file, forever)
    await store.put('~/job/1.webp', file, forever)
    expect(await (await fetch(await store.urlOf('~/job/1.webp', 60))).text()).toBe('the same')
    store.close()
  })

  it('reads a file, but not beyond its bytes, and deletes it, also when it is gone already', async () => {
    const store = await open()
    const bytes = randomBytes(300_000)
    await store.put('a/b~c/0.png', { bytes, type: 'image/png' }, forever)
    expect((await store.get('a/b~c/0.png', bytes.length, forever))!.equals(bytes)).toBe(true)
    await expect(store.get('a/b~c/0.png', bytes.length - 1, forever)).rejects.toThrow('more than its 299999 bytes')
    await expect(store.get('a/b~c/0.png', bytes.length, AbortSignal.abort())).rejects.toThrow(/abort/i)
    for (let times = 0; times < 2; times++) await store.delete('a/b~c/0.png', forever)
    expect(await store.get('a/b~c/0.png', bytes.length, forever)).toBeUndefined()
    store.close()
  })

  it('cannot read or delete in a bucket that does not exist', async () => {
    const store = await open(location.replace('images', 'nowhere'))
    if (kind === 's3') {
      await expect(store.get('a/b/0.png', 1, forever)).rejects.toThrow()
      await expect(store.delete('a/b/0.png', forever)).rejects.toThrow()
    }
    store.close()
  })

  it('tries again when a connection breaks', async () => {
    const endpoint = new URL(/endpoint=([^&]*)/.exec(location)![1]!)
    let broken = 0
    const front = createServer((socket) => {
      socket.on('error', () => undefined)
      if (broken < 1) {
        broken += 1
        socket.once('data', () => socket.destroy())
        return
      }
      const to = connect(Number(endpoint.port), endpoint.hostname)
      to.on('error', () => undefined)
      socket.pipe(to).pipe(socket)
    })
    front.listen(0, '127.0.0.1')
    await once(front, 'listening')
    onTestFinished(() => void front.close())
    const store = await open(location.replace(endpoint.port, String((front.address() as AddressInfo).port)))
    const file = { bytes: Buffer.from('whole'), type: 'image/png' }
    for (const act of [
      () => store.put('~/job/2.png', file, forever),
      () => store.get('~/job/2.png', 5, forever),
      () => store.delete('~/job/2.png', forever)
    ]) {
      await act()
      broken = 0
    }
    expect(await store.get('~/job/2.png', 5, forever)).toBeUndefined()
    store.close()
  })

  it('is the same for whoever names the same bucket and prefix', async () => {
    const own = (await open()).identity
    expect(own).toMatch(/^[0-9a-f]{32}$/)
    expect((await open(location.replace('/easel', '//easel/'))).identity).toBe(own)
    expect((await open(location.replace('/easel', '/other'))).identity).not.toBe(own)
  })

  it('stores nothing in a bucket that does not exist', async () => {
    const store = await open(location.replace('images', 'nowhere'))
    const put = store.put('~/job/0.png', { bytes: Buffer.from('x'), type: 'image/png' }, forever)
    await expect(put).rejects.toThrow()
    store.close()
  })

  it('stops when nobody waits any longer', async () => {
    const store = await open()
    const put = store.put('~/job/0.png', { bytes: Buffer.from('x'), type: 'image/png' }, AbortSignal.abort())
    await expect(put).rejects.toThrow(/abort/i)
    store.close()
  })
})
