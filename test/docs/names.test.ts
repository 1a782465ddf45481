import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { options, packageRoot } from '../../src/gateway-options.js'
import { options as webOptions } from '../../src/webapp/web-options.js'

const read = (file: string) => readFileSync(join(packageRoot, file), 'utf8')

/** Settings of the worker and codes of errors, as the pages say them that are made of, or compared with, the code. */
const settings = [...read('docs/configuration.md').matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name)
const codes = [...read('docs/errors.md').matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name)
const known = new Set([...settings, ...codes, ...Object.values({ ...options, ...webOptions }).map(({ env }) => env)])

describe.each(['operations', 'deploy-gke', 'security', 'capacity'])('docs/%s.md', (page) => {
  it('names settings and errors that exist', () => {
    // Words in capitals between backticks; ${…} and what follows $ are the reader's own variables.
    const named = [
      ...read(`docs/${page}.md`)
        .replaceAll(/^```[\s\S]*?^```$/gm, '')
        .matchAll(/`([^`\n]+)`/g)
    ].flatMap(([, code = '']) => [...code.matchAll(/(?<![$\w/{])[A-Z][A-Z]+(?:_[A-Z]+)+\b/g)].map(([word]) => word))
    expect(named).not.toEqual([])
    expect(named.filter((word) => !known.has(word))).toEqual([])
  })
})

describe('docs/operations.md', () => {
  it('says what each exit status of the worker means', () => {
    const statuses = [...read('python-worker/easel_worker/exit_status.py').matchAll(/^ {4}[A-Z_]+ = (\d+)$/gm)].map(
      ([, status]) => status
    )
    const said = [...read('docs/operations.md').matchAll(/^\| (\d+) \|/gm)].map(([, status]) => status)
    expect(statuses.length).toBeGreaterThan(3)
    // 2 is argparse's own, for wrong usage.
    expect(said.sort()).toEqual([...statuses, '2'].sort())
  })
})

describe('k8s/README.md', () => {
  it.each(['overlays', 'components'])('has all %s', (kind) => {
    const names = [...read('k8s/README.md').matchAll(/`([\w-]+)`/g)].map(([, name]) => name)
    expect(names).toEqual(expect.arrayContaining(readdirSync(join(packageRoot, 'k8s', kind))))
  })
})
