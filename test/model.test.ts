import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { withLocalModel } from '../scripts/lib/model.mjs'
import { packageRoot } from '../src/gateway-options.js'

const COMMIT = 'a'.repeat(40)
const BASE = join(packageRoot, 'models/sdxl-base-config')
const PARTS = ['text_encoder', 'text_encoder_2', 'unet', 'vae']
const CONFIGS = [
  'model_index.json',
  'scheduler/scheduler_config.json',
  ...PARTS.map((part) => `${part}/config.json`),
  ...['tokenizer', 'tokenizer_2'].flatMap((name) => [`${name}/vocab.json`, `${name}/merges.txt`])
]
const FILES: Record<string, string> = Object.fromEntries([
  ...CONFIGS.map((path) => [path, readFileSync(join(BASE, path), 'utf8')]),
  ...PARTS.map((part) => [`${part}/model.safetensors`, part]),
  ['lightning_unet.safetensors', 'lightning']
])

/** A fake Hugging Face hub with SDXL base's configs and fake weights. The worker's tests cover the rest. */
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
  const size = Buffer.byteLength(content)
  return { type: 'file', path, size, oid: createHash('sha1').update(`blob ${size}\0${content}`).digest('hex') }
}

/** Starts the hub for this test, and returns an empty folder to download to. */
async function cacheWithHub(): Promise<string> {
  const cache = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(cache, { recursive: true }))
  vi.stubEnv('HF_ENDPOINT', await startHub())
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  return cache
}

it('npm start downloads a Hugging Face model and serves its folder', async () => {
  const cache = await cacheWithHub()
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

it('npm start downloads a VAE and a UNet that replace those of the model', async () => {
  const cache = await cacheWithHub()
  const args = ['--model', 'models/demo', '--vae', 'owner/model']
  const env = { UNET: 'owner/model/lightning_unet.safetensors@main' }
  const [vae, unet] = ['owner--model@main--vae', 'owner--model--lightning_unet.safetensors@main--unet'].map((name) =>
    join(cache, name)
  )
  expect(await withLocalModel(args, env, cache)).toEqual([...args, '--vae', vae, '--unet', unet])
  expect(readdirSync(join(vae!, 'vae')).toSorted()).toEqual(['config.json', 'model.safetensors'])
  expect(readFileSync(join(unet!, 'lightning_unet.safetensors'), 'utf8')).toBe('lightning')
})

it('npm start accepts a name without a revision, reports the commit, and is offline the next time', async () => {
  const cache = await cacheWithHub()
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
  const cache = await cacheWithHub()
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
