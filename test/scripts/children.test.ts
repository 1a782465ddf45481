import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { alive } from '../support/process.js'
import { until } from '../support/wait.js'
import { addProgram, type Command, freshTree, start, type Tree } from './tree.js'

let tree: Tree
beforeAll(() => {
  tree = freshTree()
  // As npm does: what installs has children of its own, one that does not end by itself, and takes its time.
  addProgram(tree, 'npm', "trap '' INT TERM HUP; sleep 3600 & wait")
  // A program that starts a script as npm does, and knows nothing of signals.
  writeFileSync(join(tree.root, 'as-npm.sh'), 'node scripts/setup.mjs & echo "script $!"; wait\n')
})
afterAll(() => tree.remove())

/** The install's process, and what that has started; `npm ci` keeps back what it prints. */
function installing(command: Command): number[] {
  const lock = join(tree.root, '.cache/install.lock')
  try {
    const [, npm] = readFileSync(lock, 'utf8')
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[0]))
    return npm === undefined
      ? []
      : [
          npm,
          ...readFileSync(`/proc/${npm}/task/${npm}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
        ]
  } catch {
    if (command.child.exitCode !== null) throw new Error(`it ended: ${command.output()}`)
    return []
  }
}

async function twoInstalling(command: Command): Promise<number[]> {
  let found: number[] = []
  await until('npm has started its children', () => (found = installing(command)).length === 2)
  return found
}

it.each<[whom: string, signal: NodeJS.Signals, status: number]>([
  ['the script', 'SIGTERM', 143],
  ['the script', 'SIGINT', 130],
  ['the script', 'SIGHUP', 129],
  ['its group', 'SIGINT', 130]
])('%s gets %s while it installs: all that it has started ends, then the script', async (whom, signal, status) => {
  const command = start(tree, 'exec node scripts/setup.mjs')
  const started = await twoInstalling(command)
  process.kill(whom === 'the script' ? command.child.pid! : -command.child.pid!, signal)
  expect(await command.end).toBe(status)
  await until('no child is left', () => !started.some(alive))
  expect(command.output()).toMatch(new RegExp(`✗ stopped by ${signal}\n$`))
})

it('ends when the npm that runs it is killed', async () => {
  const command = start(tree, 'exec sh as-npm.sh', { npm_lifecycle_script: 'exec node scripts/setup.mjs' })
  await until('the script prints its process id', () => /script \d+/.test(command.output()))
  const script = Number(/script (\d+)/.exec(command.output())?.[1])
  const started = await twoInstalling(command)
  process.kill(command.child.pid!, 'SIGKILL')
  await until('the script and its children have ended', () => !alive(script) && !started.some(alive))
})

it.each([
  ['exec node scripts/watch.mjs --port 1', 'watching\n'],
  ['node scripts/watch.mjs', 'watching\n'],
  // What npm sets is in the environment of everything below it: of a script that a test of another script starts, too.
  ['exec node scripts/test.mjs', ''],
  ['exec node scripts/not-watch.mjs', ''],
  ['', '']
])('watches its parent where npm runs just this script: %j', async (script, said) => {
  writeFileSync(
    join(tree.root, 'scripts/watch.mjs'),
    `
import { endWithNpm } from '../tools/parent.mjs'
globalThis.setInterval = () => ({ unref: () => process.stdout.write('watching\\n') })
endWithNpm()
`
  )
  const command = start(tree, 'exec node scripts/watch.mjs', { npm_lifecycle_script: script })
  expect([await command.end, command.output()]).toEqual([0, said])
})
