import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { report } from '../../bench/lib/chip-report.mjs'
import { measurePower } from '../../bench/lib/power.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { until } from '../support/wait.js'

const RUN_MS = 600_000

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

function chip(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(packageRoot, 'bench/chip.mjs'), ...args], {
    encoding: 'utf8',
    env: {
      ...process.env,
      JAX_DISABLE_MOST_OPTIMIZATIONS: '1',
      JAX_COMPILATION_CACHE_DIR: join(packageRoot, '.cache/bench-chip-programs')
    }
  })
  return { status, output: stdout + stderr }
}

describe('npm run bench:chip', () => {
  it('measures the demo model on the CPU, and goes on from its files', { timeout: RUN_MS }, () => {
    const out = folder()
    const args = ['--side', '128', '--lanes', '1', '--clients', '1', '--seconds', '1', '--price', '1.2', '--out', out]
    const { status, output } = chip(...args)
    expect(output).toContain(`Written to ${out}/report.md`)
    expect(status).toBe(0)
    const found = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8'))
    expect(found.device).toMatchObject({ platform: 'cpu', count: 1 })
    const { auto, plain, alike, int8, service, layers, artifacts } = found.parts
    for (const { result } of [auto, plain]) {
      expect(result.lanes_1.step_ms).toBeGreaterThan(0)
      expect(result.lanes_1.decode_ms).toBeGreaterThan(0)
    }
    // On a CPU both are plain JAX.
    expect(alike.result).toEqual({ 1: null })
    expect(layers.skipped).toContain('alike')
    expect(int8.result).toMatchObject({ wrong: 0 })
    expect(artifacts.skipped).toBe('no --artifacts')
    expect(found.parts.maxdiffusion.skipped).toContain('MAXDIFFUSION is not set')
    expect(service.result).toMatchObject([{ clients: 1, watts: null }])
    expect(service.result[0].images).toBeGreaterThan(0)

    const again = chip(...args)
    expect(again.status).toBe(0)
    for (const name of ['auto', 'plain', 'alike', 'int8', 'service'])
      expect(again.output).toContain(`• ${name} is in ${out}/parts/${name}.json`)
    expect(JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')).parts).toEqual(found.parts)
  })

  it('names the option whose value it does not take', () => {
    const { status, output } = chip('--side', 'large')
    expect(status).toBe(1)
    expect(output).toContain('--side must be a number above 0')
  })
})

describe('the report', () => {
  const figures = { encode_ms: 1, step_ms: 96.5, decode_ms: 76.25, images_per_s: 0.5 }
  const found = {
    model: 'sdxl-base',
    side: 1024,
    commit: 'abc',
    made: '2026-11-26T10:00:00.000Z',
    machine: 'Node on a machine',
    price: 3.6,
    steps: 20,
    alikeDb: 30,
    device: {
      platform: 'tpu',
      kind: 'TPU v5 lite',
      count: 1,
      bytes_limit: 16 * 2 ** 30,
      fingerprint: { jax: '0.10.2', flags: '' }
    },
    parts: {
      auto: { result: { lanes_1: figures, memory: { peak_bytes_in_use: 2 ** 30 }, start_s: 93.4 } },
      alike: { result: { 1: 24.25 } },
      layers: { result: { 'down.0.resnets.0': 0.001, 'mid.resnets.1': 0.5, whole: 0.3 } },
      int8: { result: { tried: 10, wrong: 2, first: { value: 127.6, device: -128, host: 127 } } },
      artifacts: { result: { refused: 'DIR does not fit this worker: libtpu is 2 here and was 1', lines: [] } },
      maxdiffusion: { result: { lanes_1: { ...figures, step_ms: 120.8 } } },
      'maxdiffusion-flash': { error: 'no such kernel' },
      'maxdiffusion-flash-1024': { skipped: 'flash attention is for TPUs' },
      'maxdiffusion-alike': { result: { 1: 41.5 } },
      'maxdiffusion-service': {
        result: [{ clients: 4, images: 7, images_per_s: 0.4, p50_ms: 3, p99_ms: 4, health_p99_ms: 5, watts: null }]
      },
      service: {
        result: [{ clients: 4, images: 9, images_per_s: 0.5, p50_ms: 1, p99_ms: 2, health_p99_ms: 3.14, watts: 100 }]
      },
      plain: { error: 'line\nended with SIGTERM' },
      diffusers: { skipped: 'no torch' }
    }
  }

  it('says what was found, what is wrong, and what was not run', () => {
    const text = report(found)
    expect(text).toContain('| Easel | 1 | 1.0 | 96.5 | 76.3 | 0.50 |')
    expect(text).toMatch(/\| counted by the compiler for SDXL base, not measured \| 1 \| {2}\| \d+\.\d to \d+\.\d \|/)
    expect(text).toContain('24.3 dB with 1 in a call')
    expect(text).toContain("| MaxDiffusion's UNet, its default | 1 | 1.0 | 120.8 | 76.3 | 0.50 |")
    expect(text).toContain("MaxDiffusion's images beside those of plain JAX, same seeds: 41.5 dB with 1 in a call.")
    expect(text).toMatch(/The same service with MaxDiffusion's UNet:\n\n.*\n.*\n\| 4 \| 7 \| 0\.40 \|/)
    expect(text).toContain('**maxdiffusion-flash failed**: no such kernel')
    expect(text).toContain('maxdiffusion-flash-1024 was not run: flash attention is for TPUs.')
    expect(text).toContain('The first layer that differs by 5 % or more is mid.resnets.1')
    expect(text).toContain('int8: the kernels round 2 of 10 values otherwise than the host')
    expect(text).toContain('artifacts: DIR does not fit this worker: libtpu is 2 here and was 1')
    expect(text).toContain('| 4 | 9 | 0.50 | 1 | 2 | 3.1 | 200 | 2.00 |')
    expect(text).toContain('**plain failed**: line ended with SIGTERM')
    expect(text).toContain('diffusers was not run: no torch.')
  })

  it('leaves out what is not known', () => {
    const text = report({ ...found, side: 512, price: null, parts: {}, device: { ...found.device, bytes_limit: null } })
    expect(text).not.toMatch(/undefined|null|NaN|counted/)
  })
})

describe('the power', () => {
  it('is the mean of what nvidia-smi says', async () => {
    const bin = folder()
    const program = '#!/bin/sh\necho 100.5\necho 101.5\necho "[N/A]"\nprintf 9\ntouch "$0.said"\nexec sleep 60\n'
    writeFileSync(join(bin, 'nvidia-smi'), program)
    chmodSync(join(bin, 'nvidia-smi'), 0o755)
    vi.stubEnv('PATH', `${bin}:${process.env['PATH']}`)
    onTestFinished(() => void vi.unstubAllEnvs())
    const power = measurePower()
    await until('it has spoken', () => {
      try {
        return readFileSync(join(bin, 'nvidia-smi.said'), 'utf8') === ''
      } catch {
        return false
      }
    })
    expect(await power.mean()).toBe(101)
  })

  it('is not known where there is no nvidia-smi', async () => {
    vi.stubEnv('PATH', folder())
    onTestFinished(() => void vi.unstubAllEnvs())
    expect(await measurePower().mean()).toBeNull()
  })
})
