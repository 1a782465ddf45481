import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { readVersion } from '../../src/version.js'
import { until } from '../support/wait.js'
import { addProgram, freshTree, start, type Tree } from './tree.js'

const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
}

let tree: Tree
beforeAll(() => {
  tree = freshTree()
  // What is asked to install takes its time.
  for (const name of ['npm', 'npx']) addProgram(tree, name, `echo "stub: ${name} $*"; exec sleep 3600`)
  addProgram(tree, 'python3', '[ "$1" = -c ] && echo 3.12.0 || exec sleep 3600')
})
afterAll(() => tree.remove())

const INSTALLS = /^• (Installing|Making|Waiting)/m
/** What a script says of itself when it cannot go on. */
const SAID = /^✗ |npm run setup/m

describe('in a fresh clone', () => {
  it.each(Object.entries(scripts))(
    'npm run %s says what it installs, or what is missing, before it needs a package',
    async (_, script) => {
      const command = start(tree, script)
      let status: number | string | null | undefined
      void command.end.then((end) => {
        status = end
      })
      await until(
        `the command installs something or ends; it printed ${command.output()}`,
        () => status !== undefined || INSTALLS.test(command.output())
      )
      command.kill('SIGTERM')
      await command.end
      expect(command.output()).not.toMatch(/ERR_MODULE_NOT_FOUND|Cannot find (package|module)|: not found/)
      if (status !== 0 && status !== undefined) expect(command.output()).toMatch(SAID)
    }
  )

  it.each([
    ['start', '--help', /^easel: serves[\s\S]*\n {2}--port <integer>\n/],
    ['start', '-h', /^easel: serves/],
    ['start', '--version', new RegExp(`^easel ${readVersion()}\n$`)],
    ['start:web', '--help', /^easel-web: serves[\s\S]*\n {2}--server-url <text>\n/],
    ['start:web', '--version', new RegExp(`^easel-web ${readVersion()}\n$`)]
  ])('npm run %s -- %s answers and installs nothing', async (name, flag, answer) => {
    const command = start(tree, `${scripts[name]} ${flag}`)
    expect(await command.end).toBe(0)
    expect(command.output()).toMatch(answer)
    expect(command.output()).not.toMatch(/stub:|Installing/)
    expect(existsSync(join(tree.root, 'node_modules'))).toBe(false)
  })

  it.each([
    ['typecheck', 'Node'],
    ['lint', 'Node'],
    ['ruff', 'Python'],
    ['mypy', 'Python']
  ])('npm test -- %s installs the %s packages and nothing else first', async (check, packages) => {
    const command = start(tree, `${scripts['test']} ${check}`)
    await until(`the command installs something; it printed ${command.output()}`, () => INSTALLS.test(command.output()))
    command.kill('SIGTERM')
    await command.end
    expect(command.output().match(/^• .*/gm)).toEqual([expect.stringContaining(`Installing the ${packages} packages`)])
  })
})
