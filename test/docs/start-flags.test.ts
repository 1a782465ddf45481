import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'

const pages = ['README.md', ...readdirSync(join(packageRoot, 'docs')).filter((name) => name.endsWith('.md'))]

/** The flags after `npm start --` in a page, also on lines that a backslash continues. */
function flagsIn(page: string): string[] {
  const text = readFileSync(join(packageRoot, page === 'README.md' ? page : join('docs', page)), 'utf8')
  const commands = text.replaceAll(/\\\n/g, ' ').matchAll(/npm start -- ([^\n`]*)/g)
  return [...commands].flatMap(([, words]) => words!.match(/--[a-z][a-z-]*/g) ?? [])
}

it('every page names flags that npm start has', () => {
  const help = execFileSync('node', ['scripts/start.mjs', '--help'], { cwd: packageRoot, encoding: 'utf8' })
  const found = pages.flatMap((page) => flagsIn(page).map((flag) => ({ page, flag })))
  expect(found.length).toBeGreaterThan(5)
  expect(found.filter(({ flag }) => flag !== '--help' && !new RegExp(`${flag}(?![a-z-])`).test(help))).toEqual([])
})
