// @ts-check
// Attack: malicious pictures for POST /generate, too many of them, and a full disk.
import { execFileSync } from 'node:child_process'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { scrape, total } from '../support/metrics.mjs'
import { amount, attacked, atMost } from './lib/attack.mjs'
import { atEnd } from './lib/cleanup.mjs'
import { blackPng, other, pngOfChunks, profileBomb, svg } from './lib/files.mjs'
import { FAST, ownFolder, removeFolder } from './lib/gateway.mjs'
import { ask, generate, refused, SMALL, tally } from './lib/http.mjs'
import { PEAK_MIB, RECEIVE_TIMEOUT_S, SLACK_S } from './lib/limits.mjs'
import { forgetPeak, peakMib, waitFor } from './lib/proc.mjs'
import { head, leaveAll, RawClient } from './lib/raw.mjs'
import { memoryBack } from './unread.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/gateway.mjs').Gateway} Gateway */

const MB = 1e6
/** The longest response time of one picture, in ms. */
const ANSWER_MS = 3000
/** The client's timeout in ms. */
const PATIENCE_MS = 60_000
const TYPE = 'multipart/form-data; boundary=b'
const OPEN = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
/** The largest picture that a gateway takes by default, and the one whose decoding takes most memory of all PNGs. */
const SIDE = 4096
const HEAVY = { side: SIDE, depth: /** @type {16} */ (16), alpha: true, interlaced: true }

/** @param {{ short?: boolean }} [options] */
export async function pictureAttacks({ short = false } = {}) {
  const outcomes = [
    await attacked('pictures: bad ones', {}, async ({ gateway }) => {
      /** @type {Row[]} */
      const rows = []
      for (const bad of await badPictures(short)) rows.push(await one(gateway, bad))
      return rows
    }),
    await attacked('pictures: the heaviest at once', {}, async ({ gateway, restMib }) => [
      await together(gateway, short ? 4 : 24),
      await memoryBack(gateway, restMib, 'heavy pictures')
    ]),
    await attacked('pictures: slow uploads', { env: { PICTURE_LIMIT: String(4 * MB) } }, slow)
  ]
  if (!short) outcomes.push(await lines(8))
  outcomes.push(await fullDisk(), await unnamed())
  return outcomes
}

/** @typedef {{ what: string, body: Buffer, statuses: readonly number[] }} Bad */

/**
 * @param {boolean} short
 * @returns {Promise<Bad[]>}
 */
async function badPictures(short) {
  const bad = [
    { what: 'PNG of 30,000 × 30,000 pixels in a few kB', body: blackPng({ side: 30_000, bytes: MB }), statuses: [400] },
    {
      what: 'PNG whose profile inflates to 400 MB',
      body: blackPng({ side: 8, before: profileBomb(400 * MB) }),
      statuses: [200, 400]
    },
    { what: 'PNG of 4096 × 4096 pixels that ends early', body: blackPng({ side: SIDE, bytes: MB }), statuses: [400] },
    { what: 'GIF', body: await other('gif'), statuses: [400] }
  ]
  if (short) return bad
  return [
    ...bad,
    { what: 'PNG of 4096 × 4096 pixels, 16 bits, interlaced', body: blackPng(HEAVY), statuses: [200] },
    { what: 'AVIF', body: await other('avif'), statuses: [400] },
    { what: 'TIFF', body: await other('tiff'), statuses: [400] },
    { what: 'SVG of 15 MB', body: svg(15 * MB), statuses: [400] },
    { what: 'PNG with 600,000 tiny chunks', body: pngOfChunks(6e5), statuses: [200, 400] },
    { what: 'file of 60 MB', body: Buffer.alloc(60 * MB), statuses: [413] }
  ]
}

/** @param {Buffer} picture @param {Record<string, string | number>} [fields] */
function form(picture, fields = SMALL) {
  const texts = Object.entries(fields).map(
    ([name, value]) => `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
  )
  return Buffer.concat([Buffer.from(texts.join('') + OPEN), picture, Buffer.from('\r\n--b--\r\n')])
}

/** Sends a small request that starts from a picture. @param {Gateway} gateway @param {Buffer} picture */
function start(gateway, picture) {
  const body = form(picture, { ...SMALL, num_inference_steps: 4, strength: 1 })
  return ask(`${gateway.url}/generate`, { headers: { 'content-type': TYPE }, body, most: PATIENCE_MS })
}

/**
 * @param {Gateway} gateway
 * @param {Bad} bad
 * @returns {Promise<Row>}
 */
async function one(gateway, { what, body, statuses }) {
  forgetPeak(gateway.pid)
  const { status, ms, body: text } = await start(gateway, body)
  const peak = peakMib(gateway.pid)
  return {
    attack: `a picture: ${what}`,
    limit: `${statuses.join('/')} within ${amount(ANSWER_MS)} ms, RSS ≤ ${PEAK_MIB} MiB`,
    found: `${status === 0 ? text : status} after ${amount(ms)} ms, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`,
    held: statuses.includes(status) && peak !== undefined && peak <= PEAK_MIB,
    inTime: ms <= ANSWER_MS
  }
}

/**
 * @param {Gateway} gateway
 * @param {number} count
 * @returns {Promise<Row>}
 */
async function together(gateway, count) {
  const picture = blackPng(HEAVY)
  forgetPeak(gateway.pid)
  const answers = await Promise.all(Array.from({ length: count }, () => start(gateway, picture)))
  const peak = peakMib(gateway.pid)
  return {
    attack: `${count} PNGs of 4096 × 4096 pixels, 16 bits, interlaced, at once`,
    limit: `200 or a refusal each, RSS ≤ ${PEAK_MIB} MiB`,
    found: `${tally(answers.map(({ status }) => status))}, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`,
    held: answers.every((answer) => answer.status === 200 || refused(answer)) && peak !== undefined && peak <= PEAK_MIB
  }
}

/**
 * Lines of large pictures, which take the gateway's own time and memory, by many clients at once.
 *
 * @param {number} count
 */
async function lines(count) {
  const nets = await ownFolder()
  try {
    await writeFile(join(nets, 'net.safetensors'), 'a net')
    const env = { WORKER_ARGS: `${FAST} --controlnets ${nets}` }
    return await attacked('pictures: lines of many', { env }, async ({ gateway, restMib }) => {
      const image = blackPng({ side: SIDE }).toString('base64')
      const control = { name: 'net', image, preprocessor: 'lineart' }
      const body = { ...SMALL, width: 1024, height: 1024, controls: [control, control] }
      forgetPeak(gateway.pid)
      const answers = await Promise.all(
        Array.from({ length: count }, () => generate(gateway.url, body, { most: PATIENCE_MS }))
      )
      const peak = peakMib(gateway.pid)
      return [
        {
          attack: `${count} requests at once, each for the lines of two pictures of 4096 × 4096 pixels at 1024 × 1024`,
          limit: `200 or a refusal each, RSS ≤ ${PEAK_MIB} MiB`,
          found: `${tally(answers.map(({ status }) => status))}, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`,
          held:
            answers.every((answer) => answer.status === 200 || refused(answer)) &&
            peak !== undefined &&
            peak <= PEAK_MIB
        },
        await memoryBack(gateway, restMib, 'lines of pictures')
      ]
    })
  } finally {
    removeFolder(nets)
  }
}

/** @param {Gateway} gateway */
async function onDisk(gateway) {
  const samples = await scrape(gateway.adminUrl)
  return { files: total(samples, 'easel_picture_files'), bytes: total(samples, 'easel_picture_disk_bytes') }
}

/**
 * @param {import('./lib/attack.mjs').Under} under
 * @returns {Promise<Row[]>}
 */
async function slow({ gateway, restMib }) {
  const [count, bytes] = [200, 3 * MB]
  const what = `${count} forms with a picture of 3 MB, the last byte withheld`
  const clients = Array.from({ length: count }, () => new RawClient(gateway.port, { reads: true }))
  await Promise.all(
    clients.map(async (client) => {
      await client.write(head('/generate', { 'content-type': TYPE, 'content-length': OPEN.length + bytes }))
      await client.write(OPEN)
      await client.fill(bytes - 1)
    })
  )
  const held = await onDisk(gateway)
  const ordinary = await generate(gateway.url, SMALL, { most: PATIENCE_MS })
  const limit = RECEIVE_TIMEOUT_S + SLACK_S
  const gone = await waitFor(async () => (await onDisk(gateway)).files === 0, limit * 1000)
  const peak = peakMib(gateway.pid)
  await leaveAll(clients)
  return [
    atMost(what, { found: peak, limit: PEAK_MIB, unit: 'MiB RSS', note: tally(clients.map(({ status }) => status)) }),
    {
      attack: `${what}: on the disk`,
      limit: '≤ 128 files and 512 MiB (PICTURE_DISK)',
      found: `${held.files} files, ${amount(held.bytes / 2 ** 20)} MiB`,
      held: held.files <= 128 && held.bytes <= 512 * 2 ** 20
    },
    {
      attack: `${what}: an ordinary request during them`,
      limit: '200',
      found: String(ordinary.status || ordinary.body),
      held: ordinary.status === 200
    },
    {
      attack: `${what}: until none is on the disk`,
      limit: `≤ ${limit} s (RECEIVE_TIMEOUT is ${RECEIVE_TIMEOUT_S} s)`,
      found: gone === undefined ? 'some are still there' : `${amount(gone / 1000)} s`,
      held: gone !== undefined
    },
    await memoryBack(gateway, restMib, what)
  ]
}

/** A disk of 1 MiB: what does not fit is refused, and everything else goes on. Only root can mount one. */
async function fullDisk() {
  const folder = await ownFolder()
  const mounted = mount(folder)
  try {
    return await attacked('pictures: a full disk', { env: { PICTURE_FOLDER: folder } }, async ({ gateway }) => {
      const noise = Buffer.alloc(3 * MB)
      const statuses = []
      for (const picture of [noise, blackPng({ side: 8 }), noise, blackPng({ side: 8 })])
        statuses.push((await start(gateway, picture)).status)
      statuses.push((await generate(gateway.url, SMALL)).status)
      const { files } = await onDisk(gateway)
      return [
        {
          attack: 'pictures of 3 MB and small ones in turn on a disk of 1 MiB, then an ordinary request',
          limit: '507, 200, 507, 200, 200; no file left',
          found: mounted === undefined ? 'only root can mount a disk' : `${statuses.join(', ')}; ${files} files`,
          held: mounted === undefined ? undefined : statuses.join() === '507,200,507,200,200' && files === 0
        }
      ]
    })
  } finally {
    mounted?.()
    removeFolder(folder)
  }
}

/** @param {string} folder @returns {(() => void) | undefined} unmounts */
function mount(folder) {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  return atEnd(() => execFileSync('umount', ['-l', folder], { stdio: 'ignore' }))
}

/** Pictures have no names, so that none stays behind a gateway that is killed. */
async function unnamed() {
  const folder = await ownFolder()
  try {
    return await attacked('pictures: unfinished uploads', { env: { PICTURE_FOLDER: folder } }, async ({ gateway }) => {
      const clients = Array.from({ length: 8 }, () => new RawClient(gateway.port, { reads: true }))
      for (const client of clients) {
        await client.write(head('/generate', { 'content-type': TYPE, 'content-length': 2 * MB }) + OPEN)
        await client.fill(MB)
      }
      await waitFor(async () => (await onDisk(gateway)).bytes > 7 * MB, PATIENCE_MS)
      const during = (await readdir(folder)).length
      for (const client of clients) await client.leave()
      const gone = await waitFor(async () => (await onDisk(gateway)).files === 0, PATIENCE_MS)
      return [
        {
          attack: '8 MB of pictures in 8 unfinished uploads',
          limit: 'no name in the folder that could stay after kill -9; no file after the clients left',
          found: `${during} names, ${gone === undefined ? 'files stay' : 'no file'}`,
          held: during === 0 && gone !== undefined
        }
      ]
    })
  } finally {
    removeFolder(folder)
  }
}
