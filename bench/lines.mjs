// @ts-check
// npm run bench:lines: what drawing the lines of a control picture takes in the gateway: processor time of the first
// picture, which starts a thread and loads OpenCV, and of the next on the same thread, and memory. A process each.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, runForJson, script } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'
import { machine, quantile, table } from '../tools/table.mjs'

const SIDES = [64, 1024, 1448, 2048]
const NEXT = 5
const KINDS = /** @type {const} */ (['canny', 'lineart'])

const [name, side] = process.argv.slice(2)

await script(async () => {
  if (side !== undefined) {
    console.log(JSON.stringify(await measure(name === 'canny' ? 'canny' : 'lineart', Number(side))))
    return
  }
  await setup('runtime')
  await build()
  const rows = []
  for (const kind of KINDS)
    for (const size of SIDES) {
      const seen = await runForJson(process.execPath, [fileURLToPath(import.meta.url), kind, String(size)])
      const { first, next, mib } = /** @type {Seen} */ (seen)
      rows.push([kind, `${size}×${size}`, first.toFixed(2), next.toFixed(2), mib.toFixed(0)])
    }
  console.log(`\nLines of one picture at a time; medians of ${NEXT} for the next picture\n${machine()}\n`)
  console.log(table(['lines', 'picture', 'first, s of a core', 'next, s of a core', 'more memory, MiB'], rows))
})

/** @typedef {{ first: number, next: number, mib: number }} Seen */

/**
 * @param {'canny' | 'lineart'} kind
 * @param {number} size
 * @returns {Promise<Seen>} seconds of processor time, and what the process' peak memory grew by with the first picture
 */
async function measure(kind, size) {
  /** @type {typeof import('../src/pictures/preprocess.js')} */
  const { LineThreads } = await import(join(root, 'dist/pictures/preprocess.js'))
  const preprocessor =
    kind === 'canny' ? { name: kind, low: 100, high: 200 } : /** @type {const} */ ({ name: 'lineart' })
  const picture = { width: size, height: size, channels: /** @type {const} */ (3), data: drawing(size) }
  const threads = new LineThreads()
  const draw = async () => {
    const before = process.cpuUsage()
    await threads.preprocessed(picture, preprocessor, { seconds: 60 })
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1e6
  }
  const peak = () => process.resourceUsage().maxRSS / 1024
  const before = peak()
  const first = await draw()
  const mib = peak() - before
  const next = []
  for (let made = 0; made < NEXT; made++) next.push(await draw())
  return { first, next: quantile(next, 0.5), mib }
}

/**
 * A picture with edges of all directions: rings, [side, side, 3].
 *
 * @param {number} size
 */
function drawing(size) {
  const pixels = Buffer.alloc(size * size * 3)
  for (let at = 0; at < size * size; at++) {
    const value = Math.round(127.5 + 127.5 * Math.sin(Math.hypot(at % size, Math.floor(at / size)) / 5))
    pixels.fill(value, at * 3, at * 3 + 3)
  }
  return pixels
}
