import { spawn } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { packageRoot } from '../../src/gateway-options.js'
import { shellBlocks } from './shell.js'

/** What was run when somebody followed a page. */
export interface Walk {
  /** Programs with their arguments as they got them, in order. */
  calls: string[][]
  /** Where it was run: a copy of what the page changes. */
  folder: string
  status: number | null
  output: string
  remove: () => void
}

/** Stands for a program: writes down what it was called with, and answers. ASCII's own separators keep the arguments apart. */
function standIn(calls: string, answer: string): string {
  return `#!/bin/bash\n{ printf '%s\\037' "\${0##*/}" "$@"; printf '\\036'; } >> '${calls}'\n${answer}\n`
}

/** A digest for each image, so that one cannot be taken for another. */
export const digestOf = (image: string) => `sha256:${Buffer.from(image).toString('hex').padEnd(64, '0').slice(0, 64)}`

export const PROJECT_NUMBER = '123456789012'
const COMMIT = '0123456789abcdef0123456789abcdef01234567'

const ANSWERS: Record<string, string> = {
  gcloud: `case "$*" in
    *'value(projectNumber)'*) echo ${PROJECT_NUMBER};;
    *'value(address)'*) echo 192.0.2.1;;
    ${['gateway', 'worker', 'worker-cuda', 'webapp'].map((name) => `*'docker images describe '*/${name}:*) echo ${digestOf(name)};;`).join('\n')}
  esac`,
  kubectl: 'case "$*" in *jsonpath*) echo 192.0.2.1;; esac',
  git: `case "$*" in *--short*) echo ${COMMIT.slice(0, 7)};; *) echo ${COMMIT};; esac`,
  openssl: 'echo 00112233',
  jq: "echo '{}'",
  ...Object.fromEntries(['npm', 'curl', 'docker', 'kind'].map((name) => [name, '']))
}

/**
 * Runs all of a page's shell, from the top to the end, in one shell that stops at the first failure or unset variable. Programs that need the
 * world are stand-ins; what is our own is run.
 *
 * @param env more variables, such as where the hub is
 */
export async function walk(page: string, env: Record<string, string>): Promise<Walk> {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  const [bin, calls] = [join(folder, '.bin'), join(folder, '.calls')]
  mkdirSync(bin)
  writeFileSync(calls, '')
  for (const [name, answer] of Object.entries(ANSWERS)) {
    writeFileSync(join(bin, name), standIn(calls, answer))
    chmodSync(join(bin, name), 0o755)
  }
  cpSync(join(packageRoot, 'k8s'), join(folder, 'k8s'), { recursive: true })
  for (const path of ['python-worker', 'scripts']) symlinkSync(join(packageRoot, path), join(folder, path))
  // What installs into a folder outside of this one is not for a stand-in's world.
  const script = shellBlocks(page)
    .filter((block) => !block.includes('/tmp/'))
    .join('\n')
  const child = spawn('bash', ['--norc', '-euo', 'pipefail', '-c', `${script}\nwait`], {
    cwd: folder,
    env: { PATH: [bin, dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter), HOME: folder, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return {
    calls: readFileSync(calls, 'utf8')
      .split('\u001e')
      .filter(Boolean)
      .map((call) => call.split('\u001f').slice(0, -1)),
    folder,
    status,
    output,
    remove: () => rmSync(folder, { recursive: true })
  }
}
