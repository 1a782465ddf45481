import { execFileSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freshness } from '../../tools/stamp.mjs'
import { loadOptions, packageRoot } from '../../src/gateway-options.js'
import { alive } from '../support/process.js'
import { until } from '../support/wait.js'
import { addProgram, freshTree, start, type Tree } from './tree.js'

const { python } = loadOptions([], {})
const VENV = 'python-worker/.venv'
const INSTALL_MS = 120_000

let tree: Tree
beforeAll(() => {
  tree = freshTree()
  addProgram(tree, 'python3', `exec ${python} "$@"`)
})
afterAll(() => tree.remove())

/** A package of Python in one file, as PyPI has them: `import tiny` needs both of its modules. */
function writeWheel(file: string): string {
  const content = {
    'tiny/__init__.py': 'from tiny.part import VALUE',
    'tiny/part.py': 'VALUE = 7',
    'tiny-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n',
    'tiny-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
    'tiny-1.0.dist-info/RECORD':
      'tiny/__init__.py,,\ntiny/part.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n'
  }
  execFileSync(python, [
    '-c',
    'import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], "w") as file:\n  for name, text in json.loads(sys.argv[2]).items(): file.writestr(name, text)',
    file,
    JSON.stringify(content)
  ])
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

describe('an install of Python packages', () => {
  beforeAll(() => {
    const wheel = join(tree.root, 'tiny-1.0-py3-none-any.whl')
    const sha256 = writeWheel(wheel)
    writeFileSync(
      join(tree.root, 'python-worker/requirements.lock'),
      `tiny @ file://${wheel} --hash=sha256:${sha256}\n`
    )
    writeFileSync(
      join(tree.root, 'install.mjs'),
      "import { script } from './tools/run.mjs'\nimport { installPython } from './tools/setup.mjs'\nawait script(() => installPython('runtime'))\n"
    )
  })

  async function install(): Promise<string> {
    const command = start(tree, 'exec node install.mjs')
    expect([await command.end, command.output()]).toEqual([0, expect.any(String)])
    return command.output()
  }
  const works = () =>
    execFileSync(join(tree.root, VENV, 'bin/python'), ['-c', 'import tiny; print(tiny.VALUE)'], { encoding: 'utf8' })

  it.each<NodeJS.Signals>(['SIGINT', 'SIGKILL'])(
    'that %s interrupts as soon as there is a Python is made anew',
    { timeout: INSTALL_MS },
    async (signal) => {
      rmSync(join(tree.root, VENV), { recursive: true, force: true })
      const command = start(tree, 'exec node install.mjs')
      await until(
        'the environment has a Python but no pip',
        () => existsSync(join(tree.root, VENV, 'bin/python')),
        INSTALL_MS
      )
      command.kill(signal)
      expect(await command.end).not.toBe(0)
      await install()
      expect(works()).toBe('7\n')
    }
  )

  it(
    'that pip was interrupted in is made anew, though pip takes the package for installed',
    { timeout: INSTALL_MS },
    async () => {
      expect(await install()).toBe('')
      const [part = ''] = execFileSync(
        join(tree.root, VENV, 'bin/python'),
        ['-c', 'import tiny.part; print(tiny.part.__file__)'],
        { encoding: 'utf8' }
      ).split('\n')
      rmSync(part)
      rmSync(join(dirname(part), '__pycache__'), { recursive: true, force: true })
      rmSync(join(tree.root, VENV, '.stamp-runtime'))
      await install()
      expect(works()).toBe('7\n')
    }
  )

  it('of another list is made on top of a whole one', { timeout: INSTALL_MS }, async () => {
    writeFileSync(join(tree.root, VENV, 'kept'), '')
    const lock = join(tree.root, 'python-worker/requirements.lock')
    writeFileSync(lock, `${readFileSync(lock, 'utf8')}\n# another\n`)
    await install()
    expect(existsSync(join(tree.root, VENV, 'kept'))).toBe(true)
  })
})

describe('an install of Node packages', () => {
  const stamp = () => existsSync(join(tree.root, 'node_modules/.easel-stamp'))

  it('that npm calls done on a full disk, with files cut short, has failed', async () => {
    addProgram(
      tree,
      'npm',
      'mkdir -p node_modules/left; echo "npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write" >&2; echo "added 195 packages in 42s"'
    )
    const command = start(tree, 'exec node scripts/web.mjs')
    expect(await command.end).toBe(1)
    expect(command.output()).toMatch(/^✗ Installing the Node packages .*: the disk of .* (is|was) full/m)
    expect(stamp()).toBe(false)
  })

  it('finds nothing that an interrupted one has left', async () => {
    addProgram(tree, 'npm', 'ls -A node_modules; echo found nothing; exit 1')
    mkdirSync(join(tree.root, 'node_modules/.left-Xa1/lib'), { recursive: true })
    writeFileSync(join(tree.root, 'node_modules/.left-Xa1/lib/file'), '')
    const command = start(tree, 'exec node scripts/web.mjs')
    expect(await command.end).toBe(1)
    expect(command.output()).toMatch(/^✗ Installing the Node packages .*: found nothing$/m)
  })
})

describe('a stamp', () => {
  const folder = `.cache/test-${randomUUID()}`
  const stamp = (salt: string) => freshness(`${folder}/stamp`, ['package.json'], salt)
  afterAll(() => rmSync(join(packageRoot, folder), { recursive: true, force: true }))

  it('is gone while the thing is made, so that what was interrupted is not taken for the old one either', async () => {
    await stamp('old').make(() => Promise.resolve())
    expect(stamp('old').isFresh()).toBe(true)
    await expect(
      stamp('new').make(() => {
        expect(stamp('old').exists()).toBe(false)
        return Promise.reject(new Error('interrupted'))
      })
    ).rejects.toThrow('interrupted')
    expect([stamp('old').isFresh(), stamp('new').isFresh()]).toEqual([false, false])
  })

  it('says what was whole before', async () => {
    const seen: boolean[] = []
    const look = (whole: boolean) => {
      seen.push(whole)
      return Promise.resolve()
    }
    for (const salt of ['a', 'b', 'b', 'c']) await stamp(salt).make(look)
    expect(seen).toEqual([false, true, true])
  })
})

describe('commands at the same time', () => {
  const log = () =>
    existsSync(join(tree.root, 'log')) ? readFileSync(join(tree.root, 'log'), 'utf8').trim().split('\n') : []
  beforeAll(() => {
    // Does what its arguments say while it is alone; starts a process that outlives it, if told to.
    writeFileSync(
      join(tree.root, 'alone.mjs'),
      `
import { appendFileSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { alone } from './tools/lock.mjs'
import { root, run, script } from './tools/run.mjs'
const [name, what] = process.argv.slice(2)
const say = (word) => appendFileSync('log', \`\${name} \${word} \${process.pid}\\n\`)
await script(() => alone(root, async () => {
  say('begins')
  if (what === 'wait') while (!existsSync(\`go-\${name}\`)) await sleep(5)
  if (what === 'hang') await run('sh', ['-c', 'echo "child $$ $$" >> log; exec sleep 3600'])
  say('ends')
}))
`
    )
  })

  it('take turns, and say whom they wait for', async () => {
    rmSync(join(tree.root, 'log'), { force: true })
    const first = start(tree, 'exec node alone.mjs first wait')
    await until('the first command has begun', () => log().length === 1)
    const second = start(tree, 'exec node alone.mjs second')
    await until('the second command waits', () =>
      second.output().includes(`Waiting for another command that installs or builds (process ${first.child.pid})`)
    )
    writeFileSync(join(tree.root, 'go-first'), '')
    expect([await first.end, await second.end]).toEqual([0, 0])
    expect(log().map((line) => line.replace(/ \d+$/, ''))).toEqual([
      'first begins',
      'first ends',
      'second begins',
      'second ends'
    ])
  })

  it('do not wait for one that was killed, and end first what that one had started', async () => {
    rmSync(join(tree.root, 'log'), { force: true })
    const first = start(tree, 'exec node alone.mjs first hang')
    await until('the command has started a child', () => log().some((line) => line.startsWith('child')))
    const child = Number(
      log()
        .find((line) => line.startsWith('child'))
        ?.split(' ')[1]
    )
    onTestFinished(() => {
      if (alive(child)) process.kill(child, 'SIGKILL')
    })
    // A busy machine may run the child before its parent notes it.
    await until('the lock names the child', () =>
      readFileSync(join(tree.root, '.cache/install.lock'), 'utf8').includes(`${child} `)
    )
    process.kill(first.child.pid!, 'SIGKILL')
    await until('the first command has ended', () => first.child.signalCode !== null)
    expect(alive(child)).toBe(true)
    const second = start(tree, 'exec node alone.mjs second')
    expect(await second.end).toBe(0)
    await until("the first command's child has ended", () => !alive(child))
    expect(log().at(-1)).toMatch(/^second ends/)
  })

  it.each([
    ['an empty lock', '', true],
    ['a lock of a process with the number of another', `${process.pid} earlier boot\n`, false]
  ])('do not wait for %s', async (_, text, old) => {
    mkdirSync(join(tree.root, '.cache'), { recursive: true })
    const file = join(tree.root, '.cache/install.lock')
    writeFileSync(file, text)
    if (old) execFileSync('touch', ['-d', '1 minute ago', file])
    const command = start(tree, 'exec node alone.mjs third')
    expect(await command.end).toBe(0)
  })
})
