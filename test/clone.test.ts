import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../src/gateway-options.js'

/** Clones the last commit with the default of Git for Windows and compares each file with the committed one. */
it('a clone with core.autocrlf has the committed bytes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'clone-'))
  const git = (args: string[], input = ''): string[] =>
    execFileSync('git', args, {
      cwd: folder,
      encoding: 'utf8',
      input,
      maxBuffer: 1 << 26,
      stdio: ['pipe', 'pipe', 'ignore']
    })
      .trim()
      .split('\n')
  try {
    git(['clone', '--quiet', '--config', 'core.autocrlf=true', packageRoot, '.'])
    // Git never converts the text of a link, and hash-object would read the link's target.
    const committed = git(['ls-files', '--stage']).flatMap((line) => {
      const [, hash, path] = /^100\d+ (\w+) \d\t(.*)$/.exec(line) ?? []
      return hash === undefined || path === undefined ? [] : [[hash, path]]
    })
    expect(committed.length).toBeGreaterThan(500)
    const here = git(['hash-object', '--no-filters', '--stdin-paths'], committed.map(([, path]) => path).join('\n'))
    expect(committed.filter(([hash], index) => hash !== here[index]).map(([, path]) => path)).toEqual([])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
