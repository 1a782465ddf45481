import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { withLocalModel } from '../scripts/lib/model.mjs'

const COMMIT = 'a'.repeat(40)
const FILES: Record<string, string> = Object.fromEntries([
  ['model_index.json', '{}'],
  ...['text_encoder', 'text_encoder_2', 'unet', 'vae'].map((part) => [`${part}/model.safetensors`, part])
])

/** A fake Hugging Face hub with a minimal model. The worker's tests cover the rest. */
async function startHub(): Promise<string> {
  const hub = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://hub')
    if (pathname.startsWith('/api/models/owner/model/revision/'))
      return void response.end(JSON.stringify({ id: 'owner/model', sha: COMMIT }))
    if (pathname === `/api/models/owner/model/tree/${COMMIT}`)
      return void response.end(JSON.stringify(Object.entries(FILES).map(entry)))
    response.end(FILES[pathname.replace(`/owner/model/resolve/${COMMIT}/`, '')])
  })
  await new Promise<void>((resolve) => {
    hub.listen(0, '127.0.0.1', resolve)
  })
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        hub.close(() => resolve())
        hub.closeAllConnections()
      })
  )
  return `http://127.0.0.1:${(hub.address() as AddressInfo).port}`
}

function entry([path, content]: [string, string]) {
  return {
    type: 'file',
    path,
    size: content.length,
    oid: createHash('sha1').update(`blob ${content.length}\0${content}`).digest('hex')
  }
}

it('npm start downloads a Hugging Face model and serves its folder', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(cache, { recursive: true }))
  vi.stubEnv('HF_ENDPOINT', await startHub())
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  const folder = join(cache, 'owner--model@main')
  for (const args of [['--model', 'owner/model@main', '--port', '0'], ['--model=owner/model@main']]) {
    expect(await withLocalModel(args, {}, cache)).toEqual([...args, '--model', folder])
  }
  expect(await withLocalModel(['--port', '0'], { MODEL: 'owner/model@main' }, cache)).toEqual([
    '--port',
    '0',
    '--model',
    folder
  ])
  expect(readFileSync(join(folder, 'unet/model.safetensors'), 'utf8')).toBe('unet')
})

it('npm start accepts a name without a revision, reports the commit, and is offline the next time', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(cache, { recursive: true }))
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  vi.stubEnv('HF_ENDPOINT', await startHub())
  const folder = join(cache, 'owner--model@main')
  expect(await withLocalModel([], { MODEL: 'owner/model' }, cache)).toEqual(['--model', folder])
  expect(JSON.parse(readFileSync(join(folder, 'source.json'), 'utf8'))).toMatchObject({
    repository: 'owner/model',
    commit: COMMIT
  })
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1')
  expect(await withLocalModel(['--model', 'owner/model'], {}, cache)).toEqual([
    '--model',
    'owner/model',
    '--model',
    folder
  ])
})

it('npm start downloads the models of a list', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(cache, { recursive: true }))
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  vi.stubEnv('HF_ENDPOINT', await startHub())
  const folder = join(cache, 'owner--model@main')
  const local = `a=${cache},b=${folder}`
  const list = `a=${cache}, b=owner/model`
  expect(await withLocalModel(['--models', list], {}, cache)).toEqual(['--models', list, '--models', local])
  expect(await withLocalModel(['--port', '0'], { MODELS: list }, cache)).toEqual(['--port', '0', '--models', local])
  expect(await withLocalModel(['--models', local], {}, cache)).toEqual(['--models', local])
  expect(await withLocalModel(['--models', 'models.json'], {}, cache)).toEqual(['--models', 'models.json'])
})

it('npm start fails if a name is neither a folder nor a model that can be fetched', async () => {
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1')
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  await expect(withLocalModel(['--model', 'models/dmeo'], {}, tmpdir())).rejects.toThrow(
    /^MODEL=models\/dmeo could not be fetched .* No folder exists at \/.*\/models\/dmeo either$/
  )
})

it.each<[args: string[]]>([
  [['--worker-args', '--model x/y', '--port', '1']],
  [['--default-negative-prompt', '--model', '--port', '1']],
  [['--model', 'x/y', '--model', 'models/demo']]
])('reads the last --model, and no value as one: %j', async (args) => {
  expect(await withLocalModel(args, {})).toEqual(args)
})

it.each([
  [[], {}],
  [['--model', 'models/demo'], {}],
  [[], { MODEL: '/models/a@b' }],
  [['--model', 'models/demo'], { MODEL: 'owner/model@main' }]
])('does not change folders: %j %j', async (args, env) => {
  expect(await withLocalModel(args, env)).toEqual(args)
})
