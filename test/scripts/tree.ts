import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, relative, sep } from 'node:path'
import { packageRoot } from '../../src/gateway-options.js'

const NOT_IN_A_CLONE = new Set(['node_modules', 'dist', '.cache', '.git', '.venv', '.venv-torch', '__pycache__'])
/** Tens of MB that no script of npm reads before it has installed something. */
const LARGE = ['models', join('python-worker', 'tests'), join('python-worker', 'demo')]

export interface Tree {
  root: string
  /** Programs that come before those of the PATH. */
  bin: string
  remove: () => void
}

/** A copy of the tree as a fresh clone has it, where nothing is installed. */
export function freshTree(): Tree {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-tree-'))
  const root = join(folder, 'easel')
  const wanted = (source: string) => {
    const path = relative(packageRoot, source)
    return !path.split(sep).some((name) => NOT_IN_A_CLONE.has(name)) && !LARGE.some((large) => path.startsWith(large))
  }
  cpSync(packageRoot, root, { recursive: true, filter: wanted })
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  return { root, bin, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** Puts a program of shell commands before those of the PATH. */
export function addProgram(tree: Tree, name: string, commands: string): void {
  writeFileSync(join(tree.bin, name), `#!/bin/sh\n${commands}\n`)
  chmodSync(join(tree.bin, name), 0o755)
}

export interface Command {
  child: ChildProcess
  output: () => string
  /** Its status, or the signal that ended it. */
  end: Promise<number | string | null>
  /** Ends it and all that it has started in its group. */
  kill: (signal: NodeJS.Signals) => void
}

/** Runs a shell command in the tree, as the leader of a process group. */
export function start(tree: Tree, command: string, env: NodeJS.ProcessEnv = {}): Command {
  const path = [tree.bin, dirname(process.execPath), process.env['PATH']].join(delimiter)
  const child = spawn('/bin/sh', ['-c', command], {
    cwd: tree.root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path, ...env }
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  const end = new Promise<number | string | null>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal))
  })
  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(-child.pid!, signal)
    } catch {
      // Nothing is left of it.
    }
  }
  return { child, output: () => output, end, kill }
}
