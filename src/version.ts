import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from './gateway-options.js'

/** Easel's release, from package.json. */
export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  return version
}
