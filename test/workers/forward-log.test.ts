import { Readable } from 'node:stream'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { Log } from '../../src/logger.js'
import { forwardLog, MAX_LINE_BYTES } from '../../src/workers/forward-log.js'
import { startProcess } from '../support/process.js'
import { until } from '../support/wait.js'

type Said = [level: string, fields: object, message: string | undefined]

async function joined(chunks: Uint8Array[]): Promise<Said[]> {
  const said: Said[] = []
  const say = (level: string) => (fields: object, message?: string) => void said.push([level, fields, message])
  const log: Log = {
    trace: say('trace'),
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: () => log
  }
  const stream = Readable.from(
    chunks.map((chunk) => Buffer.from(chunk)),
    { objectMode: true }
  )
  const end = new Promise((resolve) => stream.once('end', resolve))
  forwardLog(stream, log)
  await end
  return said
}

function cut(bytes: Buffer, places: number[]): Buffer[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b)
  return [0, ...sorted].map((start, index) => bytes.subarray(start, sorted[index]))
}

it('finds the same lines however they are split into chunks', async () => {
  const line = fc.oneof(
    fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ' ')),
    fc.constantFrom(
      '{"level":20,"msg":"a record","time":1,"field":7}',
      '{"level":60,"msg":"the end"}',
      '{"msg":"no level"}'
    )
  )
  await fc.assert(
    fc.asyncProperty(fc.array(line), fc.array(fc.nat(), { maxLength: 8 }), async (lines, places) => {
      const text = Buffer.from(lines.map((each) => `${each}\n`).join(''))
      const expected = lines
        .filter((each) => each.trim() !== '')
        .map((each): Said => {
          if (each.includes('a record')) return ['debug', { field: 7 }, 'a record']
          if (each.includes('the end')) return ['error', {}, 'the end']
          return ['warn', {}, each]
        })
      expect(await joined(cut(text, places))).toEqual(expected)
    })
  )
})

it('truncates a line that is too long, reports the number of dropped bytes, and continues with the next', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: -2, max: 5000 }), fc.array(fc.nat(), { maxLength: 8 }), async (more, places) => {
      const long = 'x'.repeat(MAX_LINE_BYTES + more)
      const said = await joined(cut(Buffer.from(`${long}\nnext\nlast`), places))
      expect(said).toEqual([
        ['warn', more > 0 ? { left_out_bytes: more } : {}, long.slice(0, MAX_LINE_BYTES)],
        ['warn', {}, 'next'],
        ['warn', {}, 'last']
      ])
    }),
    { numRuns: 30 }
  )
})

it('buffers at most MAX_LINE_BYTES of an endless line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const worker = join(folder, 'worker')
  const bytes = 400_000_000
  writeFileSync(worker, `#!/bin/sh\nhead -c ${bytes} /dev/zero | tr '\\0' x\necho\nexec cat\n`)
  chmodSync(worker, 0o755)
  const gateway = startProcess('dist/main.js', [], { PYTHON: worker, DRAIN_TIMEOUT: '1' })
  await until('the whole line has arrived', () =>
    gateway.output().includes(`"left_out_bytes":${bytes - MAX_LINE_BYTES}`)
  )
  const peakKib = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))![1])
  expect(peakKib * 1024).toBeLessThan(bytes)
})
