// @ts-check
// npm run tpu:check: compiles SDXL base at full size for TPUs on this machine, which needs no TPU, and compares the
// compiler's counts with the targets. Takes an hour or more on two cores. Arguments name checks: v5e-1x1, v5e-2x2 ...
// MaxDiffusion's UNet is counted too where MAXDIFFUSION, as for the worker, names a checkout, by CARD_PYTHON, as for
// bench:card.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TARGETS, compare, counted } from '../bench/tpu/compare.mjs'
import { libtpu } from './lib/libtpu.mjs'
import { root, run, script, StepError } from '../tools/run.mjs'
import { python, setup } from '../tools/setup.mjs'

const model = join(root, 'models/sdxl-base-config')
const SIZE = [
  '--model',
  model,
  '--sizes',
  '1024x1024',
  '--only-sizes',
  '--max-prompt-chunks',
  '1',
  '--instructions',
  '40'
]

/** The programs to compile, by the name of the result. */
const CHECKS = /** @type {Record<string, string[]>} */ ({
  'v5e-1x1': ['--topology', 'v5e:1x1'],
  'v5e-2x2': ['--topology', 'v5e:2x2', '--programs', '^denoise.* guided'],
  'v5e-2x2-pairs': ['--topology', 'v5e:2x2', '--split-guidance', '--programs', '^denoise.* guided'],
  'v5e-2x4': ['--topology', 'v5e:2x4', '--programs', '^denoise.* guided'],
  'v6e-1x1': ['--topology', 'v6e:1x1', '--programs', '^denoise.* guided|^decode'],
  'v5e-1x1-plain': ['--topology', 'v5e:1x1', '--methods', 'plain', '--programs', '^denoise.* guided|^decode'],
  'v5e-1x1-int8': ['--topology', 'v5e:1x1', '--quantization', 'int8', '--programs', '^denoise.* guided'],
  'v5e-1x1-cached': ['--topology', 'v5e:1x1', '--max-cache-interval', '3', '--programs', '^denoise.* guided cached']
})

/** @param {...string} attention */
const theirs = (...attention) =>
  ['--topology', 'v5e:1x1', '--engine', 'maxdiffusion', '--programs', '^denoise.* guided', ...attention].concat(
    '--maxdiffusion',
    process.env['MAXDIFFUSION'] ?? ''
  )
const flash = (/** @type {string} */ tokens) =>
  theirs('--maxdiffusion-attention', 'flash', '--maxdiffusion-flash-min-tokens', tokens)

/** MaxDiffusion's, likewise. */
const PEER = /** @type {Record<string, string[]>} */ ({
  maxdiffusion: theirs(),
  'maxdiffusion-flash-4096': flash('4096'),
  'maxdiffusion-flash-1024': flash('1024')
})

await script(async () => {
  const wanted = process.argv.slice(2)
  const known = { ...CHECKS, ...PEER }
  for (const name of wanted)
    if (!(name in known)) throw new StepError(`Unknown check ${name}. Choose from ${Object.keys(known).join(', ')}`)
  const peer = Boolean(process.env['MAXDIFFUSION'])
  if (!peer && wanted.some((name) => name in PEER))
    throw new StepError('MAXDIFFUSION is not set: name a checkout of MaxDiffusion (docs/maxdiffusion.md)')
  await setup('test')
  const folder = await libtpu()
  if (folder === undefined) throw new StepError("The TPU's compiler exists for Linux on x86 only")
  for (const [name, options] of Object.entries(peer ? known : CHECKS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    console.log(`\n${name}`)
    await compile(name, options, folder)
  }
  console.log()
  compare()
  check()
})

/**
 * @param {string} name
 * @param {string[]} options
 * @param {string} libtpu folder of the package
 */
async function compile(name, options, libtpu) {
  const artifacts = mkdtempSync(join(tmpdir(), 'easel-tpu-'))
  try {
    const result = join(root, `bench/tpu/results/${name}.json`)
    const compiler = name in PEER ? (process.env['CARD_PYTHON'] ?? python) : python
    await run(compiler, ['-m', 'easel_worker.compile', ...SIZE, ...options, '--write', artifacts, '--json', result], {
      cwd: join(root, 'python-worker'),
      env: { ...process.env, PYTHONPATH: libtpu }
    })
  } finally {
    rmSync(artifacts, { recursive: true, force: true })
  }
}

/** Prints which targets are missed, and fails if any is. */
function check() {
  const row = counted().find(({ result }) => result === 'v5e-1x1')
  const found = {
    stepMs: row?.step?.ms,
    int8StepMs: counted().find(({ result }) => result === 'v5e-1x1-int8')?.step?.ms,
    decodeMs: row?.decode?.ms,
    stepTemporaryMib: row?.step?.temporaryMib,
    programMib: row?.step?.programMib
  }
  let missed = 0
  for (const [name, most] of Object.entries(TARGETS)) {
    const value = found[/** @type {keyof typeof found} */ (name)]
    const ok = value !== undefined && value <= most
    if (!ok) missed += 1
    console.log(`${ok ? '✓' : '✗'} ${name}: ${value?.toFixed(1) ?? 'not counted'} (limit ${most})`)
  }
  if (missed > 0) process.exitCode = 1
}
