// @ts-check
import { table } from '../../tools/table.mjs'
import { countedRows } from '../tpu/rows.mjs'
import { join } from 'node:path'
import { root } from '../../tools/run.mjs'

/** Results in bench/tpu/results by device and number of devices: what the compiler counts for SDXL base at 1024×1024. */
const COUNTED = /** @type {Record<string, string>} */ ({ 'TPU v5 lite': 'v5e-1x1', 'TPU v6 lite': 'v6e-1x1' })
const MIB = 2 ** 20

/**
 * What `bench:chip` found.
 *
 * @typedef {object} Found
 * @property {string} model
 * @property {number} side
 * @property {string} commit
 * @property {string} made
 * @property {string} machine
 * @property {number | null} price USD an hour
 * @property {number} steps of each image
 * @property {number} alikeDb
 * @property {Record<string, any>} device
 * @property {Record<string, import('./parts.mjs').Outcome>} parts
 */

/**
 * The report in Markdown. Every figure in it was measured, but for those that it calls counted or computed.
 *
 * @param {Found} found
 */
export function report(found) {
  const { device, parts } = found
  const result = (/** @type {string} */ name) => {
    const outcome = parts[name]
    return outcome !== undefined && 'result' in outcome ? outcome.result : undefined
  }
  const blocks = [
    `# ${device['kind']}, ${found.made.slice(0, 10)}`,
    [
      `- ${device['count']} × ${device['kind']} (${device['platform']})${memoryOf(device['bytes_limit'])}; ${found.machine}`,
      `- ${Object.entries(device['fingerprint'])
        .map(([name, value]) => `${name} ${value || 'none'}`)
        .join(', ')}`,
      `- Easel at ${found.commit}; the model ${found.model}, ${found.side}×${found.side}, ${found.steps} guided Euler steps`
    ].join('\n'),
    '## The model',
    modelTable(found, result),
    ...alike(found, result),
    '## The service',
    serviceTable(result('service') ?? [], found.price),
    ...withMaxDiffusion(found, result),
    '## Checks',
    checks(found, result)
  ]
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`
}

/** @param {number | null} bytes */
const memoryOf = (bytes) => (bytes === null ? '' : `, ${(bytes / 2 ** 30).toFixed(1)} GiB each`)

/** @param {number | undefined} value */
const ms = (value) => value?.toFixed(1) ?? ''

/**
 * @param {Found} found
 * @param {(name: string) => any} result
 */
function modelTable(found, result) {
  const rows = []
  for (const [name, title, prefix] of [
    ['auto', 'Easel', 'lanes_'],
    ['plain', 'Easel, plain JAX', 'lanes_'],
    ['maxdiffusion', "MaxDiffusion's UNet, its default", 'lanes_'],
    ['maxdiffusion-flash', 'the same, flash attention from 4096 tokens', 'lanes_'],
    ['maxdiffusion-flash-1024', 'the same, flash attention from 1024 tokens', 'lanes_'],
    ['diffusers', 'diffusers', 'batch_'],
    ['diffusers-compiled', 'diffusers, torch.compile of the UNet', 'batch_']
  ]) {
    for (const [key, each] of Object.entries(result(String(name)) ?? {}))
      if (key.startsWith(String(prefix)))
        rows.push([
          String(title),
          key.slice(String(prefix).length),
          ms(each.encode_ms),
          ms(each.step_ms),
          ms(each.decode_ms),
          each.images_per_s.toFixed(2)
        ])
  }
  const counted = countedRow(found)
  if (counted !== undefined) rows.push(counted)
  const memory = result('auto')?.memory?.peak_bytes_in_use
  const peak = memory === undefined ? '' : `\n\nThe device held at most ${(memory / MIB).toFixed(0)} MiB.`
  const start = result('auto')?.start_s
  const started = start === undefined ? '' : `\n\nLoading and compiling took ${start.toFixed(0)} s.`
  return table(['what', 'images in a call', 'encode ms', 'step ms', 'decode ms', 'images/s'], rows) + peak + started
}

/** @param {Found} found */
function countedRow({ device, side }) {
  const name = COUNTED[device['kind']]
  if (name === undefined || side !== 1024) return undefined
  const row = countedRows(join(root, 'bench/tpu/results')).find((each) => each.result === name)
  if (row === undefined) return undefined
  const range = (/** @type {import('../tpu/rows.mjs').Part | undefined} */ part) =>
    [part?.fromMs, part?.ms]
      .filter((each) => each !== undefined)
      .map(ms)
      .join(' to ')
  return ['counted by the compiler for SDXL base, not measured', '1', '', range(row.step), range(row.decode), '']
}

/**
 * @param {Found} found
 * @param {(name: string) => any} result
 */
function alike({ alikeDb }, result) {
  const found = result('alike')
  if (found === undefined) return []
  const lines = [
    `The kernels' images beside plain JAX's, same seeds: ${inDecibels(found)}. Below ${alikeDb} dB they count as different.`
  ]
  const layers = result('layers')
  if (layers !== undefined) {
    const entries = Object.entries(layers)
    const worst = entries.toSorted(([, a], [, b]) => b - a).slice(0, 5)
    const first = entries.find(([, value]) => !(value < 0.05))
    lines.push(
      `**They are different.** ${first === undefined ? 'No single layer differs by 5 %' : `The first layer that differs by 5 % or more is ${first[0]}`}; the largest differences: ` +
        `${worst.map(([name, value]) => `${name} ${(100 * value).toFixed(2)} %`).join(', ')}.`
    )
  }
  return lines
}

/** @param {Record<string, number | null>} found by the number of images in a call */
function inDecibels(found) {
  return Object.entries(found)
    .map(([count, value]) => `${value === null ? 'equal' : `${value.toFixed(1)} dB`} with ${count} in a call`)
    .join(', ')
}

/**
 * @param {Found} found
 * @param {(name: string) => any} result
 */
function withMaxDiffusion({ price }, result) {
  const [alike, rows] = [result('maxdiffusion-alike'), result('maxdiffusion-service')]
  return [
    ...(rows === undefined ? [] : ["The same service with MaxDiffusion's UNet:", serviceTable(rows, price)]),
    ...(alike === undefined
      ? []
      : [`MaxDiffusion's images beside those of plain JAX, same seeds: ${inDecibels(alike)}.`])
  ]
}

/**
 * @param {Record<string, any>[]} rows
 * @param {number | null} price USD an hour
 */
function serviceTable(rows, price) {
  if (rows.length === 0) return ''
  const head = ['clients', 'images', 'images/s', 'p50 ms', 'p99 ms', '/health p99 ms', 'J/image', 'USD/1,000 images']
  return table(
    head,
    rows.map((row) => [
      row['clients'],
      row['images'],
      row['images_per_s'].toFixed(2),
      row['p50_ms'].toFixed(0),
      row['p99_ms'].toFixed(0),
      row['health_p99_ms'].toFixed(1),
      row['watts'] === null ? 'not known' : (row['watts'] / row['images_per_s']).toFixed(0),
      price === null ? 'no --price' : ((price / 3600 / row['images_per_s']) * 1000).toFixed(2)
    ])
  )
}

/**
 * @param {Found} found
 * @param {(name: string) => any} result
 */
function checks({ parts }, result) {
  const lines = []
  const int8 = result('int8')
  if (int8 !== undefined)
    lines.push(
      int8.wrong === 0
        ? `- int8: the kernels round ${int8.tried} values as the host does.`
        : `- **int8: the kernels round ${int8.wrong} of ${int8.tried} values otherwise than the host**, first ${JSON.stringify(int8.first)}. Do not use QUANTIZATION=int8 here.`
    )
  const artifacts = result('artifacts')
  if (artifacts !== undefined)
    lines.push(
      ...(artifacts.refused === null ? artifacts.lines : [artifacts.refused]).map(
        (/** @type {string} */ line) => `- artifacts: ${line}`
      )
    )
  for (const [name, outcome] of Object.entries(parts)) {
    if ('error' in outcome) lines.push(`- **${name} failed**: ${outcome.error.split('\n').slice(-3).join(' ')}`)
    if ('skipped' in outcome) lines.push(`- ${name} was not run: ${outcome.skipped}.`)
  }
  return lines.join('\n')
}
