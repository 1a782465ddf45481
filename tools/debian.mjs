// @ts-check
// Programs from Debian's packages, unpacked without root.
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './run.mjs'

/**
 * Fetches packages with apt, which checks their signatures, and unpacks them into a folder.
 *
 * @param {string} folder
 * @param {readonly string[]} names
 */
export async function unpackDebian(folder, names) {
  // Our own package lists need neither root nor a recent `apt-get update`.
  const state = join(folder, 'apt')
  mkdirSync(join(state, 'lists/partial'), { recursive: true })
  mkdirSync(join(state, 'cache/archives/partial'), { recursive: true })
  const own = [
    '-o',
    `Dir::State::Lists=${join(state, 'lists')}`,
    '-o',
    `Dir::Cache=${join(state, 'cache')}`,
    '-o',
    'APT::Sandbox::User=',
    '-qq'
  ]
  await run('apt-get', [...own, 'update'], { quiet: true })
  const all = await withLibraries(own, names)
  await run('apt-get', [...own, 'download', ...all], { cwd: folder, quiet: true })
  for (const archive of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    await run('dpkg-deb', ['--extract', join(folder, archive), folder], { quiet: true })
    rmSync(join(folder, archive))
  }
  rmSync(state, { recursive: true })
}

/**
 * The packages, and the libraries that they need and that are not installed here.
 *
 * @param {readonly string[]} options of apt
 * @param {readonly string[]} names
 */
async function withLibraries(options, names) {
  const wanted = new Set(names)
  for (const name of wanted) {
    const text = await run('apt-cache', [...options, 'depends', '--important', name], { quiet: true })
    for (const [, library = ''] of text.matchAll(/^ +Depends: (lib[\w.+-]+)$/gm))
      if (!(await installed(library))) wanted.add(library)
  }
  return [...wanted]
}

/** @param {string} name */
function installed(name) {
  return run('dpkg-query', ['--show', name], { quiet: true }).then(
    () => true,
    () => false
  )
}
