// @ts-check
// node bench/tpu/compare.mjs: what the compiler for TPUs counts of the full-size programs, ours and others', in one table.
// Reads the results that `npm run tpu:check` leaves; compiles nothing. Every figure is counted or computed, none measured.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../../scripts/lib/run.mjs'
import { table } from '../lib/table.mjs'

const folder = join(root, 'bench/tpu')
const MIB = 2 ** 20
const STEPS = [20, 30, 40]
const V5E_FLOPS = 197e12

/** Work of the architecture at 1024×1024, counted from its shapes (a guided step is two forwards of the UNet). */
const WORK = { step: 2 * 6.761e12, decode: 10.47e12 }

/** What the programs for v5e:1x1 are to stay under. */
export const TARGETS = { stepMs: 105, decodeMs: 80, stepTemporaryMib: 500, programMib: 150 }

/**
 * @typedef {{ ms: number, temporaryMib?: number, movedGb?: number, programMib?: number, images?: number }} Part
 * @typedef {{ name: string, step?: Part, decode?: Part }} Row
 * @typedef {{ name: string, artifact_bytes: number | null, counted: Record<string, any> }} Program
 */

/** @returns {Row[]} ours by topology, as the last check counted them */
export function ours() {
  const files = readdirSync(join(folder, 'results')).filter((file) => file.endsWith('.json')).sort()
  return files.map((file) => {
    /** @type {{ programs: Program[] }} */
    const { programs } = JSON.parse(readFileSync(join(folder, 'results', file), 'utf8'))
    const step = programs.find(({ name }) => name.startsWith('denoise 1024x1024 guided'))
    const decode = programs.find(({ name }) => name === 'decode 1024x1024')
    return { name: `Easel, ${file.replace('.json', '')}`, ...(step && { step: part(step) }), ...(decode && { decode: part(decode) }) }
  })
}

/** @param {Program} program */
function part({ name, artifact_bytes: bytes, counted }) {
  return {
    ms: counted['total'] * 1e3,
    temporaryMib: counted['temporary'] / MIB,
    movedGb: counted['moved'] / 1e9,
    images: Number(name.match(/ x(\d+)$/)?.[1] ?? 1),
    ...(bytes !== null && { programMib: bytes / MIB })
  }
}

/** @returns {Row} */
function roofline() {
  const least = (/** @type {number} */ flops) => ({ ms: (flops / V5E_FLOPS) * 1e3 })
  return { name: 'roofline of one v5e: its peak of bfloat16', step: least(WORK.step), decode: least(WORK.decode) }
}

/** @param {Row[]} rows */
function print(rows) {
  const header = ['computed, not measured', 'images', 'step ms', 'temp MiB', 'moved GB', 'decode ms', 'temp MiB', ...STEPS.map((steps) => `${steps} steps s`)]
  console.log(table(header, rows.map(({ name, step, decode }) => [
    name,
    String(step?.images ?? 1),
    fixed(step?.ms, 1), fixed(step?.temporaryMib, 0), fixed(step?.movedGb, 1),
    fixed(decode?.ms, 1), fixed(decode?.temporaryMib, 0),
    ...STEPS.map((steps) => fixed(step && decode && (steps * step.ms + decode.ms) / 1e3, 2))
  ])))
}

/**
 * @param {number | undefined} value
 * @param {number} digits
 */
function fixed(value, digits) {
  return value === undefined ? '-' : value.toFixed(digits)
}

/** The whole comparison. */
export function compare() {
  /** @type {{ rows: Row[], note: string }} */
  const others = JSON.parse(readFileSync(join(folder, 'others.json'), 'utf8'))
  print([...others.rows, ...ours(), roofline()])
  console.log(`\nOthers: ${others.note}\nOurs: the same, and for kernels the longer of roofline and schedule; "images" share a step on all chips together.`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) compare()
