import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, it, onTestFinished, vi } from 'vitest'
import { JobFileStore } from '../../src/jobs/files.js'
import { MemoryJobStore } from '../../src/jobs/memory-store.js'
import { DELETE_AGAIN_MS } from '../../src/jobs/store.js'
import { MemoryBudget } from '../../src/memory.js'
import { FolderStore } from '../../src/results/folder.js'
import { Results } from '../../src/results/results.js'
import { Signer } from '../../src/results/signature.js'
import type { ImageFile } from '../../src/service/run.js'
import { until } from '../support/wait.js'
import { BOUNDS, job, leftAt } from './contract.js'

async function open(bounds = BOUNDS) {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  const signer = new Signer('secret')
  const disk = await FolderStore.open({ folder, signer, path: '/results/', keep: 3600, maxBytes: 10_000 })
  const logs: string[] = []
  const log = pino({}, { write: (line: string) => void logs.push(line) })
  const deleted: string[] = []
  const observer = { stored: () => undefined, deleted: (outcome: string) => void deleted.push(outcome) }
  const store = new MemoryJobStore({ bounds, memory: new MemoryBudget(2 ** 26), makeRoom: () => true })
  const files = new JobFileStore(new Results({ store: disk, urlTtl: 60, log, observer }), store, log)
  onTestFinished(async () => {
    await files.close()
    disk.close()
    rmSync(folder, { recursive: true })
  })
  return { files, store, disk, logs, deleted }
}

const image = (index: number) => ({ index, format: 'png', bytes: Buffer.alloc(100) }) as unknown as ImageFile
const name = { scope: '', id: 'a' }
const left = new AbortController().signal

/** Makes a job with two files, and forgets it. */
async function forgotten({ files, store }: Awaited<ReturnType<typeof open>>, folder = 'unique') {
  await store.submit(job('a'))
  const claim = (await store.claim('me', [''], []))!
  const images = [image(0), image(1)]
  const planned = files.plan(name, folder, images)
  await store.keepIn(claim, planned)
  for (const each of images) await files.save(planned, each.index, each)
  await store.end(claim, 'succeeded', '{}')
  await store.remove(name)
  return planned
}

it('deletes the files of a job that is forgotten', async () => {
  const opened = await open()
  const planned = await forgotten(opened)
  expect(planned).toEqual({ at: opened.disk.identity, folder: '~/a~unique', files: ['0.png', '1.png'] })
  expect((await opened.files.read(planned, 1, 100, left))!.length).toBe(100)
  opened.files.clean()
  await until('they are gone', () => opened.deleted.length === 2)
  expect([opened.deleted, opened.disk.bytes]).toEqual([['deleted', 'deleted'], 0])
  expect(await opened.files.read(planned, 1, 100, left)).toBeUndefined()
})

it('says that it cannot delete, tries again later, and deletes what is left then', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const opened = await open()
  await forgotten(opened)
  const { disk, files, logs, deleted, store } = opened
  const broken = vi.spyOn(disk, 'delete').mockRejectedValueOnce(new Error('access denied'))
  files.clean()
  await vi.waitFor(() => expect(logs).toHaveLength(1))
  expect(JSON.parse(logs[0]!)).toMatchObject({ level: 50, message: 'access denied' })
  await vi.waitFor(() => expect(deleted).toEqual(['failed', 'deleted']))
  files.clean()
  expect(broken).toHaveBeenCalledTimes(2)
  vi.advanceTimersByTime(DELETE_AGAIN_MS)
  files.clean()
  await vi.waitFor(() => expect(disk.bytes).toBe(0))
  vi.advanceTimersByTime(DELETE_AGAIN_MS)
  await vi.waitFor(async () => expect(await leftAt(store, disk.identity)).toEqual([]))
})

it('says of how many jobs the files stay, and why, when too many wait to be deleted', async () => {
  const opened = await open({ ...BOUNDS, jobs: 1 })
  for (const folder of ['1', '2', '3']) await forgotten(opened, folder)
  opened.files.clean()
  await until('the last ones are deleted', () => opened.deleted.length === 2)
  const lines = opened.logs.map((line) => JSON.parse(line) as { msg: string })
  expect(lines).toMatchObject([
    { level: 40, jobs: 2, msg: expect.stringMatching(/2 forgotten jobs.*JOB_LIMIT/) as string }
  ])
})

it('neither reads nor deletes what is in other RESULTS', async () => {
  const { files } = await open()
  const elsewhere = { at: 'elsewhere', folder: '~/a', files: ['0.png'] }
  await expect(files.read(elsewhere, 0, 100, left)).rejects.toMatchObject({
    code: 'RESULTS_UNAVAILABLE',
    message: expect.stringContaining('same RESULTS') as string
  })
  expect(await files.urls(elsewhere)).toBeUndefined()
})
