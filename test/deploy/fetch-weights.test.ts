import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadConfig, packageRoot } from '../../src/config.js'

const script = join(packageRoot, 'k8s/components/weights-hub/fetch_weights.py')

/** What a hub has: contents by path. The parts that a model index names are fetched, the rest is not. */
const MODEL: Record<string, string> = {
  'model_index.json': JSON.stringify({ _class_name: 'StableDiffusionXLPipeline', unet: ['diffusers', 'UNet2DConditionModel'], tokenizer: ['transformers', 'CLIPTokenizer'] }),
  'README.md': 'not read',
  'unet/config.json': '{}',
  'unet/diffusion_pytorch_model.safetensors': 'full precision',
  'unet/diffusion_pytorch_model.fp16.safetensors': 'half precision, and long enough to be cut in two',
  'unet/model.onnx': 'not read',
  'tokenizer/vocab.json': '{"a":1}',
  'tokenizer/merges.txt': 'a b',
  'vae_1_0/diffusion_pytorch_model.safetensors': 'of no part'
}
const HALF = 'unet/diffusion_pytorch_model.fp16.safetensors'
const WANTED = ['model_index.json', 'source.json', 'tokenizer/merges.txt', 'tokenizer/vocab.json', 'unet/config.json', HALF].sort()

interface Hub {
  url: string
  /** METHOD path [range], as they came. */
  asked: string[]
}

type Answer = (request: IncomingMessage, response: ServerResponse, content: string) => boolean

/** A server that lists and serves a model as the Hugging Face hub does; `answer` may do a file's answer itself. */
async function startHub(answer: Answer = () => false, model = MODEL): Promise<Hub> {
  const asked: string[] = []
  const hub = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://hub')
    asked.push(`${pathname} ${request.headers.range ?? ''}`.trim())
    if (pathname === '/api/models/owner/model/tree/abc') return list(response, model, Number(searchParams.get('from') ?? 0))
    const content = model[pathname.replace('/owner/model/resolve/abc/', '')]
    if (content === undefined) return void response.writeHead(404).end()
    if (answer(request, response, content)) return
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    response.writeHead(from > 0 ? 206 : 200).end(Buffer.from(content).subarray(from))
  })
  await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => { hub.close(() => resolve()); hub.closeAllConnections() }))
  return { url: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`, asked }
}

/** Three entries a page. Weights are large files, known by SHA-256; others by git's name for their content. */
function list(response: ServerResponse, model: Record<string, string>, from: number): void {
  const entries = Object.entries(model).map(([path, content]) => {
    const sha1 = createHash('sha1').update(`blob ${content.length}\0${content}`).digest('hex')
    const lfs = path.endsWith('.safetensors') ? { lfs: { oid: createHash('sha256').update(content).digest('hex'), size: content.length } } : {}
    return { type: 'file', path, size: content.length, oid: sha1, ...lfs }
  })
  if (from + 3 < entries.length) response.setHeader('link', `<http://${response.req.headers.host}/api/models/owner/model/tree/abc?from=${from + 3}>; rel="next"`)
  response.end(JSON.stringify([{ type: 'directory', path: 'unet', oid: '0' }, ...entries.slice(from, from + 3)]))
}

async function target(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  return join(folder, 'sdxl')
}

function fetchWeights(hub: Hub, folder: string, more: string[] = []): Promise<{ code: number; output: string }> {
  const args = [script, '--hub', hub.url, '--repository', 'owner/model', '--revision', 'abc', '--variant', 'fp16', '--pause', '0', '--target', folder, ...more]
  return new Promise((resolve) => {
    execFile(loadConfig([], {}).python, args, { env: {} }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }))
  })
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)).sort()
}

describe('fetch_weights.py', () => {
  it('fetches what the worker and the gateway read, over several pages, and nothing else', async () => {
    const [hub, folder] = [await startHub(), await target()]
    expect(await fetchWeights(hub, folder)).toMatchObject({ code: 0 })
    expect(filesIn(folder)).toEqual(WANTED)
    for (const file of WANTED) if (file !== 'source.json') expect(readFileSync(join(folder, file), 'utf8')).toBe(MODEL[file])
  })

  it('takes the plain weights where there is no such variant', async () => {
    const [hub, folder] = [await startHub(), await target()]
    await fetchWeights(hub, folder, ['--variant', 'int8'])
    expect(filesIn(folder)).toContain('unet/diffusion_pytorch_model.safetensors')
    expect(filesIn(folder)).not.toContain(HALF)
  })

  it('does nothing where they are, and asks nobody', async () => {
    const [hub, folder] = [await startHub(), await target()]
    await fetchWeights(hub, folder)
    hub.asked.length = 0
    expect(await fetchWeights(hub, folder)).toEqual({ code: 0, output: `${folder} is there already\n` })
    expect(hub.asked).toEqual([])
  })

  it('does not pass another model off as the one asked for', async () => {
    const [hub, folder] = [await startHub(), await target()]
    await fetchWeights(hub, folder)
    const { code, output } = await fetchWeights(hub, folder, ['--revision', 'def'])
    expect(code).toBe(1)
    expect(output).toMatch(/holds .*'revision': 'abc'.*choose another --target/)
  })

  it('goes on where a connection broke', async () => {
    let broken = false
    const hub = await startHub((request, response, content) => {
      if (broken || !request.url?.endsWith(HALF)) return false
      broken = true
      response.writeHead(200, { 'content-length': content.length })
      response.write(content.slice(0, 10), () => response.destroy())
      return true
    })
    const folder = await target()
    expect(await fetchWeights(hub, folder)).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, HALF), 'utf8')).toBe(MODEL[HALF])
    expect(hub.asked).toContain(`/owner/model/resolve/abc/${HALF} bytes=10-`)
  })

  it('leaves nothing in place when the bytes are not those listed', async () => {
    const hub = await startHub((request, response, content) => {
      if (!request.url?.endsWith(HALF)) return false
      response.end('X'.repeat(content.length))
      return true
    })
    const folder = await target()
    const { code, output } = await fetchWeights(hub, folder)
    expect(code).toBe(1)
    expect(output).toContain(`${HALF} is not what the hub lists`)
    expect(existsSync(folder)).toBe(false)
  })

  it('says in one line what the hub refuses', async () => {
    const { code, output } = await fetchWeights(await startHub(), await target(), ['--repository', 'owner/other'])
    expect(code).toBe(1)
    expect(output).toMatch(/^fetch_weights: .*\/owner\/other\/.* answers 404 Not Found\n$/)
  })

  it('keeps the rules of the worker\'s code', () => {
    const { python } = loadConfig([], {})
    const worker = join(packageRoot, 'python-worker')
    return Promise.all([['ruff', 'check', '--quiet'], ['ruff', 'format', '--quiet', '--check']].map((command) =>
      new Promise<void>((resolve, reject) => {
        execFile(python, ['-m', ...command, '--config', join(worker, 'pyproject.toml'), script], (error, stdout) => (error ? reject(new Error(stdout)) : resolve()))
      })
    ))
  })
})
