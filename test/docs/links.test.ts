import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'

const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: packageRoot, encoding: 'utf8' }).trim().split('\n')

/** Anchors as GitHub makes them of headings. */
function anchorsOf(page: string): string[] {
  const headings =
    readFileSync(join(packageRoot, page), 'utf8')
      .replaceAll(/^```[\s\S]*?^```$/gm, '')
      .match(/^#+ .*$/gm) ?? []
  return headings.map((line) =>
    line
      .replace(/^#+ /, '')
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-')
  )
}

it.each(pages)('%s: every link leads somewhere', (page) => {
  const links = [...readFileSync(join(packageRoot, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link = '']) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
  const dead = links.filter((link) => {
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? page : join(dirname(page), decodeURI(path))
    if (!existsSync(join(packageRoot, target))) return true
    return anchor !== undefined && target.endsWith('.md') && !anchorsOf(target).includes(anchor)
  })
  expect(dead).toEqual([])
})
