import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { loadOptions, options, packageRoot } from '../../src/gateway-options.js'
import { loadWebOptions, options as webOptions } from '../../src/webapp/web-options.js'

/** A program of ours as the manifests see it: the variables it reads, and whether it takes their values. */
export interface Program {
  variables: ReadonlySet<string>
  /** @throws with the program's own words when it refuses the environment */
  accept: (environment: Record<string, string>) => void
}

/** Variables that are read by others than our own code, with who reads them. */
const foreign: ReadonlyMap<string, string> = new Map([
  ['NODE_ENV', 'Node packages'],
  ['PATH', 'the kernel'],
  ['PYTHONDONTWRITEBYTECODE', 'Python'],
  ['PYTHONUNBUFFERED', 'Python'],
  ['JAX_PLATFORMS', 'JAX'],
  ['LD_LIBRARY_PATH', 'the dynamic linker'],
  ['NVIDIA_VISIBLE_DEVICES', "NVIDIA's container runtime"],
  ['NVIDIA_DRIVER_CAPABILITIES', "NVIDIA's container runtime"],
  ['XLA_FLAGS', 'XLA']
])

/** Those of the variables that neither the programs nor anything they stand on reads. */
export function unread(variables: readonly string[], programs: readonly Program[]): string[] {
  return variables.filter((name) => !foreign.has(name) && !programs.some((program) => program.variables.has(name)))
}

export const gateway: Program = {
  variables: new Set(Object.values(options).map(({ env }) => env)),
  accept: (environment) => void loadOptions([], environment)
}

export const webapp: Program = {
  variables: new Set(Object.values(webOptions).map(({ env }) => env)),
  accept: (environment) => void loadWebOptions([], environment)
}

/** Asks the worker's own code, in its own Python: there is no second list of its options. */
export const worker: Program = {
  variables: new Set(
    runWorker(['-m', 'easel_worker', '--help'], { COLUMNS: '1000' }).match(/(?<=\[)[A-Z][A-Z0-9_]+(?=\])/g)
  ),
  accept: (environment) =>
    void runWorker(
      ['-c', 'import os; from easel_worker.process_options import load; load([], os.environ)'],
      environment
    )
}

function runWorker(args: readonly string[], env: Record<string, string>): string {
  const { python } = loadOptions([], {})
  if (python === undefined) throw new Error('no Python to run the worker with')
  return execFileSync(python, args, { cwd: join(packageRoot, 'python-worker'), env, encoding: 'utf8', stdio: 'pipe' })
}
