// @ts-check
// npm run bench:inputs: what each input of an image costs: LoRAs, pictures, masks, nets. The demo model at 256×256 on this
// machine's CPU, with the worker's engine and, on the same weights and files, with diffusers. ROUNDS is the number of images
// of each kind. Then, for SDXL base at 1024×1024, the operations that inputs add, counted without running anything.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, runForJson, script, step } from '../tools/run.mjs'
import { python, setup } from '../tools/setup.mjs'
import { machine, table } from '../tools/table.mjs'
import { torchPython } from '../scripts/lib/torch.mjs'

const ROUNDS = process.env['ROUNDS'] ?? '5'
const cwd = join(root, 'python-worker')
const model = join(root, 'models/demo')

/** bfloat16 operations that a TPU v5e does in a second, at most. */
const V5E_PEAK = 197e12

await script(async () => {
  await setup('runtime')
  const torch = await torchPython()
  const folder = mkdtempSync(join(tmpdir(), 'easel-inputs-'))
  try {
    const args = [model, folder, '--rounds', ROUNDS]
    const ours = await step('Easel', () => runForJson(python, ['-m', 'bench.inputs.ours', ...args], { cwd }))
    const theirs = await step('diffusers', () => runForJson(torch, ['-m', 'bench.inputs.theirs', ...args], { cwd }))
    const sdxl = ['-m', 'bench.inputs.work', join(root, 'models/sdxl-base-config')]
    const work = await step('SDXL base', () => runForJson(python, sdxl, { cwd }))
    print(ours, theirs)
    printWork(work)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

/**
 * @param {any} ours
 * @param {any} theirs
 */
function print(ours, theirs) {
  const ms = (/** @type {number | undefined} */ value) => value?.toFixed(1) ?? ''
  const rows = Object.entries(ours.images).map(
    ([kind, { start_ms: start, step_ms: each, added_ms: added, end_ms: end }]) => [
      `Easel: ${kind}`,
      ms(start),
      ms(each),
      kind === 'text' ? '' : `${added < 0 ? '' : '+'}${added.toFixed(2)}`,
      ms(end),
      ms(ours.switch_ms[kind]),
      (ours.memory[kind] / 1e6).toFixed(1)
    ]
  )
  for (const [kind, changes] of Object.entries(ours.int8.switch_ms))
    rows.push([`Easel, int8: ${kind}`, '', '', '', '', ms(changes), (ours.int8.memory[kind] / 1e6).toFixed(1)])
  const plain = theirs.images.text.step_ms
  for (const [kind, { start_ms: start, step_ms: each, end_ms: end }] of Object.entries(theirs.images)) {
    const added = kind === 'text' ? '' : `${each < plain ? '' : '+'}${(each - plain).toFixed(2)}`
    const changes = kind.includes('fused') ? theirs.switch_ms.fuse : theirs.switch_ms.set_adapters
    rows.push([`diffusers: ${kind}`, ms(start), ms(each), added, ms(end), kind.includes('LoRA') ? ms(changes) : '', ''])
  }
  console.log(`\nThe demo model, 256×256, guided, Euler, ${ROUNDS} images of each kind; medians\n${machine()}\n`)
  console.log(
    table(['what', 'start ms', 'step ms', 'a step more', 'end ms', 'another weight ms', 'more memory MB'], rows)
  )
  const compiled = Object.entries(ours.programs_s).filter(([name]) => /picture|control|merge/.test(name))
  console.log('\nPrograms that only inputs need, compiled behind a start, in seconds:')
  console.log(compiled.map(([name, seconds]) => `${name}: ${seconds}`).join('; '))
  console.log(`The VAE's encoder, which only pictures need: ${(ours.encoder_bytes / 1e6).toFixed(1)} MB`)
  const files = Object.entries(ours.file_bytes).map(([name, bytes]) => `${name}: ${(bytes / 1e6).toFixed(1)} MB`)
  console.log(`Nets and IP-Adapters, which stay on the device: ${files.join('; ')}`)
}

/** @param {Record<string, { start: number, step: number, parameters: number }>} work */
function printWork(work) {
  const { text, ...inputs } = work
  const whole = text?.step ?? Number.NaN
  const rows = Object.entries({ text, ...inputs }).map(([kind, each]) => [
    kind === 'text' ? 'text: the whole step' : kind,
    ((each?.start ?? 0) / 1e12).toFixed(2),
    ((each?.step ?? 0) / 1e12).toFixed(2),
    `${(((each?.step ?? 0) / whole) * 100).toFixed(1)} %`,
    (((each?.step ?? 0) / V5E_PEAK) * 1000).toFixed(1),
    (((each?.parameters ?? 0) * 2) / 1e9).toFixed(2)
  ])
  console.log('\nSDXL base, 1024×1024, guided, as the programs are written (computed)\n')
  console.log(
    table(
      ['what', 'TFLOP at the start', 'TFLOP a step', 'of the step', "least ms at v5e's peak", 'GB in bfloat16'],
      rows
    )
  )
}
