// @ts-check
// What a server adds to a small image, part by part, beside the lowest possible cost of each part.
import { bareParts } from './bare.mjs'
import { post } from './http-load.mjs'
import { quantile, table } from '../../tools/table.mjs'

/** The first requests open connections and let V8 compile, as in a server that has run for a minute. */
const REPEATS = { warmUp: 600, count: 1000 }

/**
 * @typedef {() => Promise<{ url: string, stop: () => Promise<void> }>} Start
 */

/**
 * Measures one client that requests one image at a time. Times are p50 in ms, without the worker's own time for drawing the
 * picture.
 *
 * @param {object} body the request without its seed
 * @param {Record<string, Start>} servers
 */
export async function smallImage(body, servers) {
  /** @type {Buffer | undefined} */
  let png
  const rows = []
  for (const [name, start] of Object.entries(servers)) {
    const { times, file } = await measure(body, start)
    png ??= file
    rows.push([name, ...times.map(shown), (file.length / 1024).toFixed(1)])
  }
  if (png !== undefined) {
    const { http, wire, file } = await bareParts(png, body, REPEATS)
    rows.push([
      "lowest possible cost of the first one's parts",
      ...[http, wire, file, http + wire + file].map(shown),
      '',
      (png.length / 1024).toFixed(1)
    ])
  }
  const head = ['server', 'HTTP, checks, tokens', 'ZeroMQ, dispatch', 'PNG', 'all p50', 'all p99', 'PNG KiB']
  return `A small image, one client, ms beyond the worker's own time, over ${REPEATS.count} images\n\n${table(head, rows)}`
}

/**
 * @param {object} body
 * @param {Start} start
 */
async function measure(body, start) {
  const { url, stop } = await start()
  try {
    const seen = []
    let file = Buffer.alloc(0)
    for (let seed = 0; seed < REPEATS.warmUp + REPEATS.count; seed++) {
      const sent = performance.now()
      const { timings, chunks } = await post(url, { ...body, seed })
      const { queue = 0, encode = 0, denoise = 0, decode = 0, file: fileMs = Number.NaN, total } = timings
      const all = performance.now() - sent
      const worker = queue + encode + denoise + decode
      // A server without workers reports no total: its handler draws the picture.
      const served = total ?? worker + fileMs
      seen.push({
        http: all - served,
        wire: total === undefined ? Number.NaN : served - worker - fileMs,
        file: fileMs,
        added: all - worker
      })
      file = Buffer.concat(chunks)
    }
    const warm = seen.slice(REPEATS.warmUp)
    const middle = (/** @type {'http' | 'wire' | 'file'} */ part) =>
      quantile(
        warm.map((each) => each[part]),
        0.5
      )
    const added = warm.map((each) => each.added)
    return {
      times: [middle('http'), middle('wire'), middle('file'), quantile(added, 0.5), quantile(added, 0.99)],
      file
    }
  } finally {
    await stop()
  }
}

/** @param {number} ms */
function shown(ms) {
  return Number.isNaN(ms) ? '–' : ms.toFixed(1)
}
