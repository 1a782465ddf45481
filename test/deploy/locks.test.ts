import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'

const locks = [
  'scripts/audit/requirements.lock',
  'python-worker/requirements.lock',
  'python-worker/requirements-test.lock',
  'python-worker/requirements-tpu.lock',
  'python-worker/requirements-libtpu.lock',
  'python-worker/requirements-cuda.lock',
  'test/deploy/requirements.lock',
  'test/http/requirements.lock',
  'test/results/requirements.lock',
  'test/jobs/requirements.lock',
  'test/webhooks/requirements.lock'
]

describe.each(locks)('%s', (file) => {
  const text = readFileSync(join(packageRoot, file), 'utf8')

  it('pins and hashes every package', () => {
    const entries = text.split(/^(?=[a-z])/m).slice(1)
    expect(entries.length).toBeGreaterThan(0)
    for (const entry of entries) expect(entry).toMatch(/^[a-z0-9-]+==[^ ]+( ; .*)? \\\n {4}--hash=sha256:[0-9a-f]{64}/)
  })

  it('names no index, address or folder of the machine that made it', () => {
    expect(text).not.toMatch(/^--|:\/\/| \//m)
  })
})

describe('the locks of the worker', () => {
  it.each(['requirements-test.lock', 'requirements-tpu.lock', 'requirements-cuda.lock'])(
    '%s has the versions that run',
    (file) => {
      const runtime = pinsOf('requirements.lock')
      expect(runtime.size).toBeGreaterThan(5)
      const other = pinsOf(file)
      for (const [name, version] of runtime) expect([name, other.get(name)]).toEqual([name, version])
    }
  )

  it('holds the TPU runtime', () => {
    expect([...pinsOf('requirements-tpu.lock').keys()]).toContain('libtpu')
  })

  it('holds CUDA, cuDNN and their plugin of the same jax', () => {
    const pins = pinsOf('requirements-cuda.lock')
    expect(pins.get('jax-cuda13-plugin')).toBe(pins.get('jax'))
    expect([...pins.keys()]).toContain('nvidia-cudnn-cu13')
  })
})

function pinsOf(file: string): Map<string, string> {
  const text = readFileSync(join(packageRoot, 'python-worker', file), 'utf8')
  return new Map([...text.matchAll(/^([a-z0-9-]+)==([^ ]+)/gm)].map(([, name, version]) => [name ?? '', version ?? '']))
}
