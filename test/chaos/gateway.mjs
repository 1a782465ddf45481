// @ts-check
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from '../../tools/children.mjs'
import { readyAddress } from '../../tools/gateway.mjs'
import { root } from '../../tools/run.mjs'
import { processesWith } from '../support/processes.mjs'
import { LogWatch } from './log-watch.mjs'
import { ADAPTERS, EMBEDDINGS, LORAS, NETS, SIZES } from './random-requests.mjs'

/** A small heap makes V8 collect garbage during the run, so that the memory at its end is what the gateway holds. */
const SMALL_HEAP = ['--max-old-space-size=64', '--max-semi-space-size=2']

/**
 * Starts the built gateway as a process with two workers that detects deaths and restarts workers quickly. It has its own
 * temporary folder, so that the test finds leftover files.
 *
 * @param {{ stepMs: number, queueLimit: number }} options
 */
export async function startGateway({ stepMs, queueLimit }) {
  const folder = await mkdtemp(join(tmpdir(), 'easel-chaos-'))
  const files = await mkdtemp(join(tmpdir(), 'easel-chaos-files-'))
  const kinds = { loras: LORAS, embeddings: EMBEDDINGS, controlnets: NETS, 'ip-adapters': ADAPTERS }
  for (const [kind, texts] of Object.entries(kinds)) {
    await mkdir(join(files, kind))
    for (const [name, text] of Object.entries(texts)) await writeFile(join(files, kind, `${name}.safetensors`), text)
  }
  const child = startChild(process.execPath, [...SMALL_HEAP, join(root, 'dist/main.js')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      TMPDIR: folder,
      LOG_FORMAT: 'json',
      LOG_LEVEL: 'info',
      ENGINE: 'fake',
      WORKERS: '2',
      QUEUE_LIMIT: String(queueLimit),
      // The clients judge what hangs. A busy machine may take long for a request.
      REQUEST_TIMEOUT: '3600',
      // The store of answers for retries fills up early, so that it does not count as growth. It holds about 100 answers.
      IDEMPOTENCY_BYTES: String(2 ** 20),
      HEARTBEAT_INTERVAL: '0.1',
      HEARTBEAT_TIMEOUT: '1',
      RESTART_BACKOFF: '0.05',
      WORKER_ARGS: `--sizes ${SIZES.map((size) => size.join('x')).join(',')} --rows 8 --fake-step-ms ${stepMs} --fake-merge-ms ${stepMs} --loras ${files}/loras --embeddings ${files}/embeddings --controlnets ${files}/controlnets --ip-adapters ${files}/ip-adapters`
    }
  })
  const log = new LogWatch(child.stdout)
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const url = await readyAddress(child)
  return {
    url,
    pid: /** @type {number} */ (child.pid),
    log,
    /** Running workers; their command lines name the socket in the folder. */
    workers: () => processesWith(join(folder, 'easel-')),
    kill: () => child.kill('SIGKILL'),
    /** Ends the gateway as a platform would, and returns how it ended and what it left. */
    async stop() {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      const orphans = processesWith(folder)
      const left = await readdir(folder)
      for (const pid of orphans) process.kill(pid, 'SIGKILL')
      await rm(folder, { recursive: true })
      await rm(files, { recursive: true })
      return { status: child.signalCode ?? child.exitCode, orphans, files: left, stderr }
    }
  }
}
