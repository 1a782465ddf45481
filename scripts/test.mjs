// @ts-check
// npm test: installs what the tests need and runs every check there is. Extra arguments name the checks to run.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { installBrowser } from './lib/browser.mjs'
import { installDeployTools } from './lib/deploy-tools.mjs'
import { schemathesis } from './lib/http-tools.mjs'
import { libtpu } from './lib/libtpu.mjs'
import { root, run, script, step, StepError } from './lib/run.mjs'
import { build, python, setup } from './lib/setup.mjs'

const reports = join(root, 'node_modules/.cache/easel-test')
const worker = join(root, 'python-worker')

/** These leave a part of the machine idle, each another, so they run at the same time. */
const LONG = new Set(['pytest', 'vitest'])

/** Every check: its name, and the command that ends with status 0 when it passes. */
const checks = {
  typecheck: () => run('npm', ['run', '--silent', 'typecheck']),
  lint: () => run('npx', ['--no-install', 'oxlint', '--deny-warnings', '--quiet']),
  ruff: () => run(python, ['-m', 'ruff', 'check', '--quiet', '.'], { cwd: worker }),
  format: () => run(python, ['-m', 'ruff', 'format', '--quiet', '--check', '.'], { cwd: worker }),
  mypy: () => run(python, ['-m', 'mypy', '--no-error-summary'], { cwd: worker }),
  pytest: () => run(python, ['-m', 'pytest', `--junitxml=${join(reports, 'pytest.xml')}`], { cwd: worker, label: 'pytest' }),
  vitest: () => run('npx', ['--no-install', 'vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile=${join(reports, 'vitest.json')}`])
}

await script(async () => {
  const wanted = process.argv.slice(2)
  for (const name of wanted) if (!(name in checks)) throw new StepError(`There is no check ${name}; there are ${Object.keys(checks).join(', ')}`)
  rmSync(reports, { recursive: true, force: true })
  mkdirSync(reports, { recursive: true })
  await setup('test')
  await build()
  await step('Installing kubectl, Prometheus and the checkers of the deployment files', installDeployTools)
  if (wanted.length === 0 || wanted.includes('pytest')) await libtpu()
  if (wanted.length === 0 || wanted.includes('vitest')) {
    await schemathesis()
    await installBrowser()
  }
  /** @type {string[]} */
  const failed = []
  let passedTests = 0
  let failedTests = 0
  const perform = async (/** @type {keyof typeof checks} */ name) => {
    process.stdout.write(`• ${name}\n`)
    const start = performance.now()
    const ok = await checks[name]().then(() => true, (error) => {
      if (!(error instanceof StepError)) throw error
      return false
    })
    const { passed, broken } = count(name, ok)
    passedTests += passed
    failedTests += broken
    if (!ok) failed.push(name)
    process.stdout.write(`  ${ok ? '✓' : '✗'} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)\n`)
  }
  const asked = /** @type {(keyof typeof checks)[]} */ (Object.keys(checks)).filter((name) => wanted.length === 0 || wanted.includes(name))
  for (const name of asked.filter((each) => !LONG.has(each))) await perform(name)
  await Promise.all(asked.filter((each) => LONG.has(each)).map(perform))
  process.stdout.write(failed.length === 0 ? '\nAll checks pass.\n' : `\nFailed: ${failed.join(', ')}\n`)
  process.stdout.write(`${passedTests} passed, ${failedTests} failed\n`)
  if (failed.length > 0) process.exitCode = 1
})

/**
 * How many tests a check ran; one without tests of its own counts as one.
 *
 * @param {string} name
 * @param {boolean} ok
 */
function count(name, ok) {
  if (name === 'vitest') {
    if (!existsSync(join(reports, 'vitest.json'))) return { passed: 0, broken: 1 }
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(join(reports, 'vitest.json'), 'utf8'))
    // A file that cannot be loaded fails without a failed test in it.
    return { passed: numPassedTests, broken: ok ? numFailedTests : Math.max(1, numFailedTests) }
  }
  if (name === 'pytest') {
    if (!existsSync(join(reports, 'pytest.xml'))) return { passed: 0, broken: 1 }
    const suite = readFileSync(join(reports, 'pytest.xml'), 'utf8').match(/<testsuite [^>]*>/)?.[0] ?? ''
    const number = (/** @type {string} */ attribute) => Number(suite.match(new RegExp(`${attribute}="(\\d+)"`))?.[1] ?? 0)
    const broken = number('failures') + number('errors')
    return { passed: number('tests') - broken - number('skipped'), broken: ok ? broken : Math.max(1, broken) }
  }
  return { passed: ok ? 1 : 0, broken: ok ? 0 : 1 }
}
