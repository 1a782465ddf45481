import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
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
