// @ts-check
// Attack 11: the path of the workers' socket already exists.
import { existsSync, lstatSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownFolder, removeFolder, startGateway } from './lib/gateway.mjs'
import { generate, SMALL } from './lib/http.mjs'
import { signal, waitFor } from './lib/proc.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/attack.mjs').Outcome} Outcome */
/** @typedef {import('./lib/gateway.mjs').Gateway} Gateway */

/** How long a gateway may take to fail to start, or to serve, in ms. */
const END_MS = 10_000
const SERVE_MS = 10_000
const CONTENT = 'what somebody needs'
const FAKE = '--sizes 64x64 --fake-step-ms 0'

/** @returns {Promise<Outcome[]>} */
export async function ipcAttacks() {
  const rows = [
    await inFolder(regularFile),
    await inFolder(link),
    await inFolder(living),
    await inFolder(umask),
    await inFolder(stale)
  ]
  return [{ rows, watched: [] }]
}

/** @param {(path: string) => Promise<Row>} attack */
async function inFolder(attack) {
  const folder = await ownFolder()
  try {
    return await attack(join(folder, 'workers.sock'))
  } finally {
    removeFolder(folder)
  }
}

/** @param {string} path */
function on(path, { shell = '' } = {}) {
  return startGateway({
    fake: FAKE,
    env: { WORKER_ENDPOINT: `ipc://${path}` },
    waits: false,
    ...(shell === '' ? {} : { shell })
  })
}

/** Tells whether a gateway makes an image. @param {Gateway} gateway */
async function serves(gateway) {
  return (
    (await gateway.listening(SERVE_MS)) &&
    (await gateway.ready(SERVE_MS)) &&
    (await generate(gateway.url, SMALL)).status === 200
  )
}

/** Describes the outcome of a start that must fail. @param {Gateway} gateway @param {string} path */
async function refusal(gateway, path) {
  await gateway.listening(END_MS)
  if (gateway.port === 0) await gateway.exit
  const named = `${gateway.log?.text}${gateway.errors?.text}`.includes(path)
  return {
    text: gateway.ended()
      ? `exit ${gateway.status()}, ${named ? 'the message names the file' : 'the message does not name the file'}`
      : 'it started',
    right: gateway.ended() && gateway.status() === 1 && named
  }
}

/** @param {string} path @returns {Promise<Row>} */
async function regularFile(path) {
  writeFileSync(path, CONTENT)
  const gateway = await on(path)
  try {
    const { text, right } = await refusal(gateway, path)
    const intact = existsSync(path) && statSync(path).isFile() && readFileSync(path, 'utf8') === CONTENT
    return {
      attack: 'ipc:// path of a regular file',
      limit: '0 bytes lost, exit 1',
      found: `${text}; ${intact ? 'unchanged' : 'the file is lost'}`,
      held: right && intact
    }
  } finally {
    await gateway.stop()
  }
}

/** @param {string} path @returns {Promise<Row>} */
async function link(path) {
  const target = `${path}.target`
  writeFileSync(target, CONTENT)
  symlinkSync(target, path)
  const gateway = await on(path)
  try {
    const { text, right } = await refusal(gateway, path)
    const intact =
      lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true && readFileSync(target, 'utf8') === CONTENT
    return {
      attack: 'ipc:// path of a symbolic link',
      limit: '0 removed, exit 1',
      found: `${text}; ${intact ? 'unchanged' : 'the link is lost'}`,
      held: right && intact
    }
  } finally {
    await gateway.stop()
  }
}

/** @param {string} path @returns {Promise<Row>} */
async function living(path) {
  const first = await on(path)
  try {
    if (!(await serves(first))) throw new Error('the first gateway does not serve')
    const { ino } = statSync(path)
    const second = await on(path)
    const { text, right } = await refusal(second, path)
    await second.stop()
    const same = statSync(path, { throwIfNoEntry: false })?.ino === ino
    // A worker that connects now reaches the first gateway.
    const before = first.workers()
    for (const pid of before) signal(pid, 'SIGKILL')
    const back = await waitFor(
      async () =>
        first.ended() ||
        (first.workers().some((pid) => !before.includes(pid)) && (await generate(first.url, SMALL)).status === 200),
      SERVE_MS
    )
    const whole = same && back !== undefined && !first.ended()
    return {
      attack: "ipc:// path of a running gateway's socket",
      limit: 'the second exits with 1, the first keeps its socket',
      found: `the second: ${text}; the first ${whole ? 'keeps its socket' : 'has lost its socket'}`,
      held: right && whole
    }
  } finally {
    await first.stop()
  }
}

/** @param {string} path @returns {Promise<Row>} */
async function umask(path) {
  const gateway = await on(path, { shell: 'umask 000' })
  try {
    const served = await serves(gateway)
    const mode = (statSync(path).mode & 0o777).toString(8).padStart(4, '0')
    return {
      attack: 'ipc:// socket under umask 000',
      limit: 'mode 0600',
      found: `mode ${mode}`,
      held: served && mode === '0600'
    }
  } finally {
    await gateway.stop()
  }
}

/** @param {string} path @returns {Promise<Row>} */
async function stale(path) {
  const first = await on(path)
  try {
    if (!(await serves(first))) throw new Error('the first gateway does not serve')
    signal(first.pid, 'SIGKILL')
    await first.exit
    const left = existsSync(path)
    const second = await on(path)
    const served = await serves(second)
    const { status } = await second.stop()
    const clean = !existsSync(path)
    return {
      attack: 'ipc:// socket that a kill -9 left behind',
      limit: 'taken over, 0 files left at the end',
      found: `${left ? 'left behind' : 'removed'}; the next gateway ${served ? 'serves' : 'does not serve'}, exit ${status}; ${clean ? 'no file left' : 'the file remains'}`,
      held: served && status === 0 && clean
    }
  } finally {
    await first.stop()
  }
}
