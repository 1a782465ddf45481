// @ts-check
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from '../../tools/children.mjs'
import { readyAddress } from '../../tools/gateway.mjs'
import { root, StepError } from '../../tools/run.mjs'

/**
 * @typedef {object} Policy
 * @property {string} title
 * @property {'steps' | 'batches' | 'single'} policy a scheduler of python-worker/bench/policies.py
 * @property {number} rows rows of a step
 * @property {number} offered rows that the gateway is told: it sends up to twice as many ahead
 */

/**
 * Starts our gateway and a worker with a given policy, each as a process.
 *
 * @param {Policy} policy
 * @param {string} python the worker's
 * @param {readonly string[]} workerOptions its engine with its options
 */
export async function startSystem({ policy, rows, offered }, python, workerOptions) {
  const folder = await mkdtemp(join(tmpdir(), 'easel-bench-'))
  const endpoint = `ipc://${join(folder, 'worker.sock')}`
  const record = join(folder, 'images.jsonl')
  const server = startChild(process.execPath, [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      WORKER: 'connect',
      WORKER_ENDPOINT: endpoint,
      LOG_FORMAT: 'json',
      LOG_LEVEL: 'info',
      QUEUE_LIMIT: '100000',
      REQUEST_TIMEOUT: '86400'
    }
  })
  const worker = startChild(
    python,
    [
      '-m',
      'bench',
      '--policy',
      policy,
      '--policy-rows',
      String(rows),
      '--record',
      record,
      '--rows',
      String(offered),
      '--connect',
      endpoint,
      '--name',
      policy,
      '--log-level',
      'error',
      '--exit-with-parent',
      ...workerOptions
    ],
    { cwd: join(root, 'python-worker'), stdio: ['pipe', 'inherit', 'inherit'] }
  )
  const stop = async () => {
    worker.stdin?.end()
    server.kill('SIGTERM')
    await Promise.all([server, worker].map((child) => (child.exitCode === null ? once(child, 'exit') : undefined)))
    await rm(folder, { recursive: true })
  }
  const url = await readyAddress(server).catch(async (error) => {
    await stop()
    throw error
  })
  return { url, stop, images: () => readImages(record) }
}

/**
 * Reads when each image began, had its first step and was made, in ms since 1970, by its seed.
 *
 * @param {string} record
 * @returns {Promise<Map<number, { begun: number, stepped: number, made: number }>>}
 */
async function readImages(record) {
  const lines = (await readFile(record, 'utf8')).trim().split('\n')
  return new Map(lines.map((line) => JSON.parse(line)).map(({ seed, ...times }) => [seed, times]))
}

/**
 * @param {string} url
 * @param {import('./workload.mjs').Arrival[]} arrivals open loop: requests do not wait for earlier answers
 * @returns {Promise<{ sent: number, answered: number }[]>} ms since 1970, by seed
 */
export async function send(url, arrivals) {
  const start = performance.now()
  return Promise.all(
    arrivals.map(async ({ at, body }) => {
      const wait = start + at - performance.now()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
      const sent = now()
      const response = await fetch(`${url}/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body)
      })
      const image = await response.arrayBuffer()
      if (response.status !== 200) throw new StepError(`status ${response.status}: ${Buffer.from(image)}`)
      return { sent, answered: now() }
    })
  )
}

/** ms since 1970, at a higher resolution than Date.now(). */
function now() {
  return performance.timeOrigin + performance.now()
}
