// @ts-check
// Attack 1: malicious files for POST /recipe.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { amount, attacked } from './lib/attack.mjs'
import { jpegWithXmp, nestedJson, other, pngBomb, pngOfChunks, svg, webpWithXmp, wideJson } from './lib/files.mjs'
import { ownFolder, removeFolder } from './lib/gateway.mjs'
import { ask, generate, refused, SMALL, tally } from './lib/http.mjs'
import { PEAK_MIB } from './lib/limits.mjs'
import { forgetPeak, peakMib } from './lib/proc.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {{ what: string, type: string, body: Buffer, statuses: readonly number[] }} Bad */

const MB = 1e6
/** The longest response time, in ms. Most of it is the transfer of 60 MB. */
const ANSWER_MS = 2000
/** The client's timeout: no longer than it takes a gateway to lose its worker. */
const PATIENCE_MS = 20_000
/** Statuses for a file that is not one of our images. */
const REFUSALS = [400, 413, 415, 422]
/** Statuses for a file that is refused before decoding. */
const BY_TYPE = [400, 415]
const KEY = 'a-key-of-the-abuse-run'
const A_MINUTE = 5
/** How many clients send files without a pause, and for how long. */
const CLIENTS = 8
const PAUSELESS_MS = 5000

/** @type {Buffer | undefined} */
let made

/** The file that does the most harm for its size. */
export function bomb() {
  made ??= pngBomb(nestedJson(50 * MB))
  return made
}

/** @param {{ short?: boolean }} [options] */
export async function recipeAttacks({ short = false } = {}) {
  const outcomes = [
    await attacked('recipe: small or plausible files', {}, async ({ gateway }) => {
      const rows = [await ownImages(gateway.url)]
      for (const file of await smallFiles(short)) rows.push(await one(gateway, file))
      return rows
    })
  ]
  for (const file of await largeFiles(short))
    outcomes.push(await attacked(`recipe: ${file.what}`, {}, async ({ gateway }) => [await one(gateway, file)]))
  if (!short) {
    outcomes.push(await attacked('recipe: 16 files at once', {}, async ({ gateway }) => [await together(gateway, 16)]))
    outcomes.push(
      await attacked('recipe: files without a pause', {}, async ({ gateway }) => [await withoutPause(gateway)])
    )
  }
  outcomes.push(await rateLimit())
  return outcomes
}

/**
 * @param {boolean} short
 * @returns {Promise<Bad[]>}
 */
async function smallFiles(short) {
  const others = await Promise.all(
    /** @type {const} */ (['gif', 'tiff', 'avif']).map(async (format) => ({
      what: `${format.toUpperCase()} under image/png`,
      type: 'image/png',
      body: await other(format),
      statuses: BY_TYPE
    }))
  )
  if (short) return others
  return [
    ...others,
    { what: 'PNG with a million tiny chunks', type: 'image/png', body: pngOfChunks(1e6), statuses: REFUSALS },
    {
      what: 'JPEG of 60 MB, JSON in its XMP',
      type: 'image/jpeg',
      body: await jpegWithXmp(nestedJson(60 * MB)),
      statuses: REFUSALS
    },
    {
      what: 'PNG of 97 KB that inflates to 50 MB of JSON fields',
      type: 'image/png',
      body: pngBomb(wideJson(50 * MB)),
      statuses: REFUSALS
    }
  ]
}

/**
 * Returns the files that could crash the gateway.
 *
 * @param {boolean} short
 * @returns {Promise<Bad[]>}
 */
async function largeFiles(short) {
  const files = [
    { what: 'SVG of 31 MB under image/png', type: 'image/png', body: svg(31 * MB), statuses: BY_TYPE },
    { what: 'PNG of 48 KB that inflates to 50 MB of nested JSON', type: 'image/png', body: bomb(), statuses: REFUSALS }
  ]
  return short
    ? files
    : [
        ...files,
        {
          what: 'PNG with 1,000 chunks that inflate to 50 MB each',
          type: 'image/png',
          body: pngBomb(nestedJson(50 * MB), 1000),
          statuses: REFUSALS
        },
        {
          what: 'WebP of 60 MB, JSON in its XMP',
          type: 'image/webp',
          body: await webpWithXmp(nestedJson(60 * MB)),
          statuses: REFUSALS
        }
      ]
}

/**
 * Checks that the limits do not refuse the gateway's own images.
 *
 * @param {string} url
 * @returns {Promise<Row>}
 */
async function ownImages(url) {
  const read = []
  for (const format of ['png', 'jpeg', 'webp']) {
    const image = await generate(url, { ...SMALL, output_format: format, prompt: 'é ∆ '.repeat(200), truncate: true })
    const recipe = await ask(`${url}/recipe`, { headers: { 'content-type': `image/${format}` }, body: image.body })
    read.push(`${format} ${recipe.status}`)
  }
  return {
    attack: "/recipe: the gateway's own images",
    limit: '200 each',
    found: read.join(', '),
    held: read.every((each) => each.endsWith(' 200'))
  }
}

/**
 * @param {import('./lib/gateway.mjs').Gateway} gateway
 * @param {Bad} file
 * @returns {Promise<Row>}
 */
async function one(gateway, { what, type, body, statuses }) {
  const attack = `/recipe: ${what}`
  const limit = `${statuses.join('/')} within ${amount(ANSWER_MS)} ms, RSS ≤ ${PEAK_MIB} MiB`
  forgetPeak(gateway.pid)
  const {
    status,
    ms,
    body: text
  } = await ask(`${gateway.url}/recipe`, { headers: { 'content-type': type }, body, most: PATIENCE_MS })
  const peak = peakMib(gateway.pid)
  const found = `${status === 0 ? text : status} after ${amount(ms)} ms, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`
  return {
    attack,
    limit,
    found,
    held: statuses.includes(status) && peak !== undefined && peak <= PEAK_MIB,
    inTime: ms <= ANSWER_MS
  }
}

/**
 * @param {import('./lib/gateway.mjs').Gateway} gateway
 * @param {number} count
 * @returns {Promise<Row>}
 */
async function together(gateway, count) {
  const body = bomb()
  const answers = await Promise.all(
    Array.from({ length: count }, () =>
      ask(`${gateway.url}/recipe`, { headers: { 'content-type': 'image/png' }, body, most: PATIENCE_MS })
    )
  )
  const peak = peakMib(gateway.pid)
  const slowest = Math.max(...answers.map(({ ms }) => ms))
  return {
    attack: `/recipe: ${count} such PNGs at once`,
    limit: `each refused within ${amount(ANSWER_MS)} ms, RSS ≤ ${PEAK_MIB} MiB`,
    found: `${tally(answers.map(({ status }) => status))}; the last after ${amount(slowest)} ms, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`,
    held:
      answers.every((answer) => REFUSALS.includes(answer.status) || refused(answer)) &&
      peak !== undefined &&
      peak <= PEAK_MIB,
    inTime: slowest <= ANSWER_MS
  }
}

/**
 * Several clients send one file after another, with texts of up to the accepted length.
 *
 * @param {import('./lib/gateway.mjs').Gateway} gateway
 * @returns {Promise<Row>}
 */
async function withoutPause(gateway) {
  const texts = [0.06, 0.25, 0.5, 1].map((size) => nestedJson(size * MB))
  const files = [
    ...texts.map((text) => ({ type: 'image/png', body: pngBomb(text) })),
    ...(await Promise.all(texts.map(async (text) => ({ type: 'image/webp', body: await webpWithXmp(text) }))))
  ]
  const end = performance.now() + PAUSELESS_MS
  /** @type {import('./lib/http.mjs').Answer[]} */
  const answers = []
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let turn = client; performance.now() < end && !gateway.ended(); turn++) {
        const { type, body } = /** @type {typeof files[number]} */ (files[turn % files.length])
        answers.push(await ask(`${gateway.url}/recipe`, { headers: { 'content-type': type }, body, most: PATIENCE_MS }))
      }
    })
  )
  const peak = peakMib(gateway.pid)
  const slowest = Math.max(...answers.map(({ ms }) => ms))
  return {
    attack: `/recipe: ${CLIENTS} clients, ${PAUSELESS_MS / 1000} s, texts of 60 KB to 1 MB of nested JSON`,
    limit: `each refused within ${amount(ANSWER_MS)} ms, RSS ≤ ${PEAK_MIB} MiB`,
    found: `${tally(answers.map(({ status }) => status))}; the slowest ${amount(slowest)} ms, ${peak === undefined ? 'the gateway ended' : `${amount(peak)} MiB`}`,
    held:
      answers.every((answer) => REFUSALS.includes(answer.status) || refused(answer)) &&
      peak !== undefined &&
      peak <= PEAK_MIB,
    inTime: slowest <= ANSWER_MS
  }
}

/** Checks that a key's requests per minute apply to this route too. */
async function rateLimit() {
  const folder = await ownFolder()
  const file = join(folder, 'keys.json')
  await writeFile(file, JSON.stringify({ keys: [{ name: 'abuser', key: KEY, requests_per_minute: A_MINUTE }] }))
  const headers = { authorization: `Bearer ${KEY}` }
  try {
    return await attacked(
      'recipe: beyond the rate of a key',
      { env: { ACCESS_KEYS: file }, headers },
      async ({ gateway }) => {
        const body = await other('gif')
        const answers = []
        for (let count = 0; count < 4 * A_MINUTE; count++)
          answers.push(
            await ask(`${gateway.url}/recipe`, { headers: { 'content-type': 'image/png', ...headers }, body })
          )
        const through = answers.filter((answer) => !refused(answer)).length
        return [
          {
            attack: `/recipe: ${answers.length} files of a key with ${A_MINUTE} requests per minute`,
            // A new minute may begin in between.
            limit: `≤ ${2 * A_MINUTE} files read, the others 429`,
            found: tally(answers.map(({ status }) => status)),
            held: through <= 2 * A_MINUTE
          }
        ]
      }
    )
  } finally {
    removeFolder(folder)
  }
}
