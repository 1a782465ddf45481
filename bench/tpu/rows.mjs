// @ts-check
// The rows of the comparison: the results of `npm run tpu:check`, and the rooflines. Its only side effect
// is reading files.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const MIB = 2 ** 20

/** bfloat16 operations per second: https://cloud.google.com/tpu/docs/v5e and v6e */
const PEAKS = /** @type {Record<string, number>} */ ({ v5e: 197e12, v6e: 918e12 })

/** Operations of the architecture at 1024×1024, from its shapes (a guided step is two forwards of the UNet). */
const WORK = { step: 2 * 6.761e12, decode: 10.47e12 }

/** Names of the results in the table, by file name, in the table's order. */
const NAMES = /** @type {Record<string, string>} */ ({
  maxdiffusion: "MaxDiffusion's UNet, v5e:1x1, dot_product (its default)",
  'maxdiffusion-flash-4096': "MaxDiffusion's UNet, v5e:1x1, flash from 4096 tokens",
  'maxdiffusion-flash-1024': "MaxDiffusion's UNet, v5e:1x1, flash from 1024 tokens",
  'v5e-1x1-plain': 'Easel, v5e:1x1, METHODS=plain',
  'v5e-1x1': 'Easel, v5e:1x1',
  'v5e-1x1-int8': 'Easel, v5e:1x1, QUANTIZATION=int8',
  'v5e-1x1-cached': 'Easel, v5e:1x1, cache_interval 3: its cached step',
  'v5e-2x2': 'Easel, v5e:2x2',
  'v5e-2x2-pairs': 'Easel, v5e:2x2, SPLIT_GUIDANCE',
  'v5e-2x4': 'Easel, v5e:2x4',
  'v6e-1x1': 'Easel, v6e:1x1'
})

/** One step in every cache_interval is a full one. */
const CACHE_INTERVAL = 3

/**
 * `ms` has all memory that is not hidden, `fromMs` none of it.
 *
 * @typedef {{ ms: number, fromMs?: number, temporaryMib?: number, movedGb?: number, programMib?: number, images?: number }} Part
 * @typedef {{ name: string, result?: string, step?: Part, decode?: Part }} Row
 * @typedef {{ name: string, artifact_bytes: number | null, counted: Record<string, any> }} Program
 */

/**
 * @param {string} folder of results
 * @returns {Row[]} the programs, as the last checks counted them
 */
export function countedRows(folder) {
  const found = readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
  const order = Object.keys(NAMES)
  const place = (/** @type {string} */ result) => (order.includes(result) ? order.indexOf(result) : order.length)
  return found
    .toSorted((a, b) => place(a) - place(b))
    .map((result) => {
      /** @type {{ programs: Program[] }} */
      const { programs } = JSON.parse(readFileSync(join(folder, `${result}.json`), 'utf8'))
      return rowOf(result, programs)
    })
}

/**
 * @param {string} result
 * @param {Program[]} programs
 * @returns {Row}
 */
export function rowOf(result, programs) {
  const step = programs.find(({ name }) => name.startsWith('denoise 1024x1024 guided'))
  const decode = programs.find(({ name }) => name === 'decode 1024x1024')
  return {
    name: NAMES[result] ?? `Easel, ${result}`,
    result,
    ...(step && { step: part(step) }),
    ...(decode && { decode: part(decode) })
  }
}

/** @param {Program} program */
function part({ name, artifact_bytes: bytes, counted }) {
  return {
    ms: counted['total'] * 1e3,
    fromMs: counted['compute'] * 1e3,
    temporaryMib: counted['temporary'] / MIB,
    movedGb: counted['moved'] / 1e9,
    images: Number(name.match(/ x(\d+)$/)?.[1] ?? 1),
    ...(bytes !== null && { programMib: bytes / MIB })
  }
}

/** @returns {Row[]} the shortest possible time on one chip of each kind */
export function rooflines() {
  return Object.entries(PEAKS).map(([chip, flops]) => {
    const least = (/** @type {number} */ work) => ({ ms: (work / flops) * 1e3 })
    return { name: `roofline of one ${chip}: its bfloat16 peak`, step: least(WORK.step), decode: least(WORK.decode) }
  })
}

/**
 * Returns the seconds of an image, with all memory that is not hidden: its steps and a decode. A result without a decode of its own uses that of one chip of
 * the same kind with the usual programs, which are the same.
 *
 * @param {Row} row
 * @param {readonly Row[]} all
 * @param {number} steps
 * @returns {number | undefined}
 */
export function imageSeconds(row, all, steps) {
  const chip = row.result?.slice(0, row.result.indexOf('-'))
  const usual = all.find(({ result }) => chip !== undefined && result === `${chip}-1x1`)
  const decode = row.decode ?? usual?.decode
  if (row.step === undefined || decode === undefined) return undefined
  const whole = row.result === 'v5e-1x1-cached' ? Math.ceil(steps / CACHE_INTERVAL) : 0
  if (whole > 0 && usual?.step === undefined) return undefined
  return (whole * (usual?.step?.ms ?? 0) + (steps - whole) * row.step.ms + decode.ms) / 1e3
}
