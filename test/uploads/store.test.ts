import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MAX_FILES, UploadStore } from '../../src/uploads/store.js'
import { inPieces, sha256 } from './support.js'

async function open(more: Partial<ConstructorParameters<typeof UploadStore>[0]> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'easel-uploads-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  let received = 0
  const store = new UploadStore({
    folder,
    maxFiles: MAX_FILES,
    maxFileBytes: 1000,
    maxBytes: 2500,
    observer: { pictureBytes: (bytes) => void (received += bytes) },
    ...more
  })
  return { store, folder, received: () => received }
}

const bytes = (count: number, value = 7) => inPieces(Buffer.alloc(count, value), [100])
const closed = async (store: UploadStore) => {
  while (store.files > 0) await new Promise(setImmediate)
}

describe('UploadStore', () => {
  it('keeps a file without a name until the request is done', async () => {
    const { store, folder, received } = await open()
    const uploads = store.open()
    const upload = await uploads.take('image', bytes(900))
    expect(upload).toMatchObject({ field: 'image', bytes: 900, sha256: sha256(Buffer.alloc(900, 7)) })
    expect(uploads.get('image')).toBe(upload)
    expect(await readdir(folder)).toEqual([])
    // Any number of times, also at once.
    for (const file of await Promise.all([upload.read(), upload.read()]))
      expect(file.equals(Buffer.alloc(900, 7))).toBe(true)
    expect([store.files, store.bytes, received()]).toEqual([1, 900, 900])
    uploads.close()
    await closed(store)
    expect(store.bytes).toBe(0)
    await expect(upload.read()).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('keeps files for whoever still needs them', async () => {
    const { store } = await open()
    const uploads = store.open()
    const upload = await uploads.take('image', bytes(10))
    const letGo = uploads.keep()
    uploads.close()
    uploads.close()
    expect((await upload.read()).length).toBe(10)
    letGo()
    letGo()
    await closed(store)
  })

  it('finishes a read that closing overtakes', async () => {
    const { store } = await open()
    const uploads = store.open()
    const upload = await uploads.take('image', bytes(500))
    const reading = upload.read()
    uploads.close()
    expect((await reading).equals(Buffer.alloc(500, 7))).toBe(true)
    await closed(store)
  })

  it('refuses a file above the limit, an empty one, and a second one for a field', async () => {
    const { store } = await open()
    const uploads = store.open()
    const failing = async (count: number) => {
      try {
        await uploads.take('image', bytes(count))
        return 'nothing'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect([await failing(1001), await failing(0), await failing(1000), await failing(5)]).toEqual([
      'BODY_TOO_LARGE',
      'INVALID_REQUEST',
      'nothing',
      'INVALID_REQUEST'
    ])
    const [first, second] = await Promise.allSettled([
      uploads.take('mask_image', bytes(5)),
      uploads.take('mask_image', bytes(5))
    ])
    expect([first.status, second.status]).toEqual(['fulfilled', 'rejected'])
    expect([store.files, store.bytes]).toEqual([2, 1005])
    uploads.close()
    await closed(store)
  })

  it('refuses what does not fit beside the others, and frees what a failed one took', async () => {
    const { store } = await open()
    const all = [store.open(), store.open(), store.open()]
    await all[0]!.take('image', bytes(1000))
    await all[1]!.take('image', bytes(1000))
    const refused = all[2]!.take('image', bytes(600))
    await expect(refused).rejects.toMatchObject({ code: 'MEMORY_FULL', field: 'image', retryAfter: expect.any(Number) })
    expect([store.files, store.bytes]).toEqual([2, 2000])
    await all[2]!.take('image', bytes(500))
    for (const uploads of all) uploads.close()
    await closed(store)
    expect(store.bytes).toBe(0)
  })

  it('bounds the number of files, and so of descriptors', async () => {
    const { store } = await open({ maxBytes: 1e6 })
    const all = await Promise.all(
      Array.from({ length: MAX_FILES }, async () => {
        const uploads = store.open()
        await uploads.take('image', bytes(1))
        return uploads
      })
    )
    await expect(store.open().take('image', bytes(1))).rejects.toMatchObject({ code: 'MEMORY_FULL' })
    for (const uploads of all) uploads.close()
    await closed(store)
  })

  it('keeps nothing of a client that leaves in the middle', async () => {
    const { store, folder } = await open()
    const uploads = store.open()
    const leaving = (async function* () {
      yield Buffer.alloc(100)
      throw new Error('the connection is gone')
    })()
    await expect(uploads.take('image', leaving)).rejects.toThrow('the connection is gone')
    expect([store.files, store.bytes]).toEqual([0, 0])
    // Or just before its last byte is stored.
    const late = (async function* () {
      yield Buffer.alloc(100)
      uploads.close()
    })()
    await expect(uploads.take('image', late)).rejects.toMatchObject({ code: 'CANCELLED' })
    expect([store.files, store.bytes, await readdir(folder)]).toEqual([0, 0, []])
  })

  it('says clearly that the disk takes no file, without its path, and counts nothing', async () => {
    const { store, folder } = await open()
    await rm(folder, { recursive: true })
    const failed = store.open().take('image', bytes(10))
    await expect(failed).rejects.toMatchObject({
      code: 'STORAGE_FULL',
      statusCode: 507,
      field: 'image',
      message: 'image: the server cannot keep pictures on its disk (ENOENT)',
      cause: expect.objectContaining({ code: 'ENOENT' })
    })
    expect([store.files, store.bytes]).toEqual([0, 0])
    // It works again as soon as the disk does.
    await mkdir(folder)
    await writeFile(join(folder, 'other'), '')
    const uploads = store.open()
    expect((await (await uploads.take('image', bytes(10))).read()).length).toBe(10)
    uploads.close()
    await closed(store)
  })
})
