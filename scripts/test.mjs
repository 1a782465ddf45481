// @ts-check
// npm test: installs what the checks need and runs all of them, or those that the arguments name.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { installBrowser } from '../tools/browser.mjs'
import { bucketServers } from '../tools/bucket-servers.mjs'
import { installDeployTools } from '../tools/deploy-tools.mjs'
import { schemathesis } from '../tools/http-tools.mjs'
import { valkey } from '../tools/valkey-tools.mjs'
import { libtpu } from './lib/libtpu.mjs'
import { root, run, script, step, StepError } from '../tools/run.mjs'
import { build, installNode, installPython, python } from '../tools/setup.mjs'

const reports = join(root, '.cache/test-reports')
const worker = join(root, 'python-worker')
const npx = (/** @type {readonly string[]} */ ...args) => run('npx', ['--no-install', ...args])
const inWorker = (/** @type {readonly string[]} */ ...args) => run(python, ['-m', ...args], { cwd: worker })

/** These begin when the others have ended. */
const LONG = new Set(['pytest', 'vitest'])

/**
 * What checks may need. Each is installed once, in this order.
 *
 * @type {Record<string, () => Promise<unknown>>}
 */
const installs = {
  node: installNode,
  python: () => installPython('test'),
  dist: build,
  kubectl: () => step('Installing kubectl, Prometheus and the checkers of the deployment files', installDeployTools),
  libtpu,
  schemathesis,
  buckets: bucketServers,
  valkey,
  browser: installBrowser
}

/**
 * Every check: what it needs, its commands, which exit with status 0 when it passes, and its lane. The checks of a lane run
 * one after another, and the lanes at the same time: most checks keep one core busy.
 *
 * @type {Record<string, { lane: 'node' | 'python', needs: string[], run: () => Promise<unknown> }>}
 */
const checks = {
  typecheck: {
    lane: 'node',
    needs: ['node'],
    run: async () => {
      for (const args of [['--noEmit'], ['-p', 'src/webapp/page'], ['-p', 'test/webapp']]) await npx('tsc', ...args)
    }
  },
  lint: { lane: 'node', needs: ['node'], run: () => npx('oxlint', '--deny-warnings', '--quiet') },
  ruff: { lane: 'python', needs: ['python'], run: () => inWorker('ruff', 'check', '--quiet', '.') },
  format: {
    lane: 'node',
    needs: ['node', 'python'],
    run: async () => {
      await npx('prettier', '--check', '--log-level', 'warn', '.')
      await inWorker('ruff', 'format', '--quiet', '--check', '.')
    }
  },
  mypy: { lane: 'python', needs: ['python'], run: () => inWorker('mypy', '--no-error-summary') },
  pytest: {
    lane: 'python',
    needs: ['python', 'libtpu'],
    run: () =>
      run(python, ['-m', 'pytest', `--junitxml=${join(reports, 'pytest.xml')}`], { cwd: worker, label: 'pytest' })
  },
  vitest: {
    lane: 'node',
    needs: ['node', 'python', 'dist', 'kubectl', 'schemathesis', 'buckets', 'valkey', 'browser'],
    run: () =>
      npx('vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile=${join(reports, 'vitest.json')}`)
  }
}

await script(async () => {
  const wanted = process.argv.slice(2)
  for (const name of wanted)
    if (!(name in checks)) throw new StepError(`Unknown check ${name}. Choose from ${Object.keys(checks).join(', ')}`)
  const asked = Object.entries(checks).filter(([name]) => wanted.length === 0 || wanted.includes(name))
  const needed = new Set(asked.flatMap(([, { needs }]) => needs))
  for (const [name, install] of Object.entries(installs)) if (needed.has(name)) await install()
  rmSync(reports, { recursive: true, force: true })
  mkdirSync(reports, { recursive: true })
  /** @type {string[]} */
  const failed = []
  let passedTests = 0
  let failedTests = 0
  const perform = async (/** @type {typeof asked[number]} */ [name, check]) => {
    process.stdout.write(`• ${name}\n`)
    const start = performance.now()
    const ok = await check.run().then(
      () => true,
      (error) => {
        if (!(error instanceof StepError)) throw error
        // Its own output says the rest, unless a signal ended it.
        process.stdout.write(`${error.message.trim().split('\n').at(-1)}\n`)
        return false
      }
    )
    const { passed, broken } = count(name, ok)
    passedTests += passed
    failedTests += broken
    if (!ok) failed.push(name)
    process.stdout.write(`  ${ok ? '✓' : '✗'} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)\n`)
  }
  const inLanes = (/** @type {typeof asked} */ some) =>
    Promise.all(
      ['node', 'python'].map(async (lane) => {
        for (const each of some.filter(([, check]) => check.lane === lane)) await perform(each)
      })
    )
  await inLanes(asked.filter(([name]) => !LONG.has(name)))
  await inLanes(asked.filter(([name]) => LONG.has(name)))
  process.stdout.write(failed.length === 0 ? '\nAll checks pass.\n' : `\nFailed: ${failed.join(', ')}\n`)
  process.stdout.write(`${passedTests} passed, ${failedTests} failed\n`)
  if (failed.length > 0) process.exitCode = 1
})

/**
 * Returns how many tests a check ran; a check without tests counts as one.
 *
 * @param {string} name
 * @param {boolean} ok
 */
function count(name, ok) {
  if (name === 'vitest') {
    if (!existsSync(join(reports, 'vitest.json'))) return { passed: 0, broken: 1 }
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(join(reports, 'vitest.json'), 'utf8'))
    // A file that cannot be loaded fails without a failed test.
    return { passed: numPassedTests, broken: ok ? numFailedTests : Math.max(1, numFailedTests) }
  }
  if (name === 'pytest') {
    if (!existsSync(join(reports, 'pytest.xml'))) return { passed: 0, broken: 1 }
    const suite = readFileSync(join(reports, 'pytest.xml'), 'utf8').match(/<testsuite [^>]*>/)?.[0] ?? ''
    const number = (/** @type {string} */ attribute) =>
      Number(suite.match(new RegExp(`${attribute}="(\\d+)"`))?.[1] ?? 0)
    const broken = number('failures') + number('errors')
    return { passed: number('tests') - broken - number('skipped'), broken: ok ? broken : Math.max(1, broken) }
  }
  return { passed: ok ? 1 : 0, broken: ok ? 0 : 1 }
}
