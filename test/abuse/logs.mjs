// @ts-check
// Attack 6: logs that cannot be written. Serving must not depend on them.
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../tools/run.mjs'
import { atEnd } from './lib/cleanup.mjs'
import { ownFolder, removeFolder, startGateway } from './lib/gateway.mjs'
import { ask, generate, SMALL } from './lib/http.mjs'
import { listeningPort, signal, waitFor } from './lib/proc.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/attack.mjs').Outcome} Outcome */

/**
 * An output that cannot be written.
 *
 * @typedef {{ fd: number, started?: () => void, done: () => void }} Sink started: call it when the process has the descriptor
 */

/** How long a start, an answer and an end may take, in ms. */
const START_MS = 60_000
const ANSWER_MS = 5000
const END_MS = 20_000
/** Logged requests before the check, enough lines to fill a pipe of 64 KiB. */
const REQUESTS = 100
const FAKE = '--sizes 64x64 --fake-step-ms 0'

/** @type {Record<string, (folder: string) => Sink>} */
const SINKS = {
  '/dev/full': () => plain(openSync('/dev/full', 'w')),
  'a closed pipe': (folder) => {
    const { reader, writer } = pipe(folder)
    return { fd: writer, started: () => closeSync(reader), done: () => closeSync(writer) }
  },
  'a full pipe without a reader': (folder) => {
    const { reader, writer } = pipe(folder)
    fill(writer)
    const fd = blocking(folder)
    return {
      fd,
      done: () => {
        for (const each of [fd, reader, writer]) closeSync(each)
      }
    }
  },
  'a full disk': (folder) => {
    const disk = join(folder, 'disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'easel-abuse', disk], { stdio: 'ignore' })
    const unmount = atEnd(() => execFileSync('umount', ['--lazy', disk]))
    const fd = openSync(join(disk, 'log'), 'a')
    fill(fd)
    return {
      fd,
      done: () => {
        closeSync(fd)
        unmount()
      }
    }
  }
}

/** @param {{ short?: boolean }} [options] @returns {Promise<Outcome[]>} */
export async function logAttacks({ short = false } = {}) {
  const names = short ? ['/dev/full', 'a closed pipe'] : Object.keys(SINKS)
  const attacks = [
    ...names.map((name) => () => withSink(name, gatewayWith)),
    () => withSink('/dev/full', workerWith),
    () => withSink('/dev/full', pageWith)
  ]
  /** @type {Row[]} */
  const rows = []
  // Run two at a time, because they mostly wait.
  for (let next = 0; next < attacks.length; next += 2)
    rows.push(...(await Promise.all(attacks.slice(next, next + 2).map((attack) => attack()))))
  return [{ rows, watched: [] }]
}

/**
 * @param {string} name of a sink
 * @param {(name: string, sink: Sink) => Promise<Row>} attack
 */
async function withSink(name, attack) {
  const folder = await ownFolder()
  try {
    const sink = /** @type {(folder: string) => Sink} */ (SINKS[name])(folder)
    try {
      return await attack(name, sink)
    } finally {
      sink.done()
    }
  } catch (error) {
    if (!/mount/.test(/** @type {Error} */ (error).message)) throw error
    return {
      attack: `the gateway's output goes to ${name}`,
      limit: '',
      found: 'not measured: mounting a small disk needs root',
      held: undefined
    }
  } finally {
    removeFolder(folder)
  }
}

/** @param {string} name @param {Sink} sink @returns {Promise<Row>} */
async function gatewayWith(name, sink) {
  const gateway = await startGateway({ fake: FAKE, stdio: ['ignore', sink.fd, sink.fd], waits: false })
  try {
    sink.started?.()
    const found = []
    if (!(await gateway.listening(START_MS))) found.push('does not listen')
    else {
      if (!(await gateway.ready(START_MS))) found.push('does not become ready')
      for (let count = 0; count < REQUESTS && found.length === 0; count++) {
        const { status } = await generate(gateway.url, SMALL, { most: ANSWER_MS })
        if (status !== 200) found.push(`image ${count + 1}: ${status || 'no answer'}`)
      }
      const { status } = await ask(`${gateway.url}/health`, { most: ANSWER_MS })
      if (status !== 200) found.push(`/health: ${status || 'no answer'}`)
    }
    return verdict(
      `the gateway's output goes to ${name}`,
      `${REQUESTS} images`,
      found,
      await ending(gateway.pid, gateway.ended, gateway.status)
    )
  } finally {
    await gateway.stop()
  }
}

/** A worker that the gateway did not start, as in a container of its own. @param {string} name @param {Sink} sink @returns {Promise<Row>} */
async function workerWith(name, sink) {
  const gateway = await startGateway({
    fake: FAKE,
    connect: true,
    waits: false,
    workerStdio: ['pipe', sink.fd, sink.fd]
  })
  try {
    sink.started?.()
    const found = []
    const { worker } = gateway
    if (!(await gateway.listening(START_MS)) || !(await gateway.ready(START_MS))) found.push('does not become ready')
    else {
      const { status } = await generate(gateway.url, SMALL, { most: ANSWER_MS })
      if (status !== 200) found.push(`image: ${status || 'no answer'}`)
    }
    const ended = () => worker === undefined || worker.exitCode !== null || worker.signalCode !== null
    return verdict(
      `a worker's output goes to ${name}`,
      'an image',
      found,
      await ending(worker?.pid ?? 0, ended, () => worker?.signalCode ?? worker?.exitCode ?? 'none')
    )
  } finally {
    await gateway.stop()
  }
}

/** The page's process. @param {string} name @param {Sink} sink @returns {Promise<Row>} */
async function pageWith(name, sink) {
  const env = { ...process.env, HOST: '127.0.0.1', PORT: '0', SERVER_URL: 'http://127.0.0.1:9', LOG_FORMAT: 'json' }
  const child = spawn(process.execPath, [join(root, 'dist/webapp/main.js')], {
    stdio: ['ignore', sink.fd, sink.fd],
    env
  })
  const pid = /** @type {number} */ (child.pid)
  const ended = () => child.exitCode !== null || child.signalCode !== null
  try {
    sink.started?.()
    const found = []
    const port = await waitFor(() => ended() || listeningPort(pid) !== undefined, START_MS)
    const answer =
      port === undefined || ended()
        ? undefined
        : await ask(`http://127.0.0.1:${listeningPort(pid)}/healthz`, { most: ANSWER_MS })
    if (answer?.status !== 200) found.push(`/healthz: ${answer?.status || 'no answer'}`)
    return verdict(
      `the page's process writes to ${name}`,
      '/healthz',
      found,
      await ending(pid, ended, () => child.signalCode ?? child.exitCode)
    )
  } finally {
    child.kill('SIGKILL')
  }
}

/**
 * Sends SIGTERM to a process and describes how it ends.
 *
 * @param {number} pid
 * @param {() => boolean} ended
 * @param {() => unknown} status
 */
async function ending(pid, ended, status) {
  if (ended()) return `ended early with ${status()}`
  signal(pid, 'SIGTERM')
  await waitFor(ended, END_MS)
  if (ended()) return `exit ${status()}`
  signal(pid, 'SIGKILL')
  return `does not end within ${END_MS / 1000} s`
}

/**
 * @param {string} attack
 * @param {string} asked the requests that must be answered
 * @param {readonly string[]} found the failures
 * @param {string} end
 * @returns {Row}
 */
function verdict(attack, asked, found, end) {
  return {
    attack,
    limit: `${asked} within ${ANSWER_MS / 1000} s each, exit 0 within ${END_MS / 1000} s of SIGTERM`,
    found: `${found.length === 0 ? 'all answered' : found.join(', ')}; ${end}`,
    held: found.length === 0 && end === 'exit 0'
  }
}

/** @param {number} fd @returns {Sink} */
function plain(fd) {
  return { fd, done: () => closeSync(fd) }
}

/** A kernel pipe: Node's own pipes are pairs of sockets. @param {string} folder */
function pipe(folder) {
  execFileSync('mkfifo', [join(folder, 'pipe')])
  const reader = openSync(join(folder, 'pipe'), constants.O_RDONLY | constants.O_NONBLOCK)
  return { reader, writer: openSync(join(folder, 'pipe'), constants.O_WRONLY | constants.O_NONBLOCK) }
}

/** The same pipe in blocking mode, which is the usual one. @param {string} folder */
function blocking(folder) {
  return openSync(join(folder, 'pipe'), constants.O_WRONLY)
}

/** Writes until the pipe is full. @param {number} fd */
function fill(fd) {
  for (let size = 4096; size >= 1;) {
    try {
      writeSync(fd, Buffer.alloc(size, '\n'))
    } catch {
      size /= 2
    }
  }
}
