import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Output } from '../src/log-output.js'
import { LogSink } from '../src/log-sink.js'

const MIB = 1_048_576

/** An output whose writes end when and how the test decides. */
class ScriptedOutput implements Output {
  /** Complete lines that reached the log, including loss reports. */
  readonly whole: string[] = []
  text = ''
  #pending: { bytes: Buffer; done: (error: Error | undefined, written: number) => void } | undefined

  write(bytes: Buffer, done: (error: Error | undefined, written: number) => void): void {
    if (this.#pending !== undefined) throw new Error('a second write before the first has ended')
    this.#pending = { bytes, done }
  }

  writeAtExit(bytes: Buffer): void {
    this.#take(bytes)
  }

  get pending(): number {
    return this.#pending?.bytes.length ?? 0
  }

  /** Ends the pending write: completely, or with an error after a number of bytes. */
  end(failAfter?: number): void {
    if (this.#pending === undefined) return
    const { bytes, done } = this.#pending
    this.#pending = undefined
    const written = failAfter === undefined ? bytes.length : failAfter % (bytes.length + 1)
    this.#take(bytes.subarray(0, written))
    done(failAfter === undefined ? undefined : new Error('no space'), written)
  }

  #take(bytes: Buffer): void {
    this.text += bytes.toString()
    const lines = bytes.toString().split('\n')
    lines.pop()
    for (const line of lines) if (/^<.*>$/.test(line)) this.whole.push(line)
  }
}

const lost = (note: string) => Number(/^<lost (\d+)>$/.exec(note)?.[1] ?? 0)

type Event = { line: number } | { end: number | undefined }

it('writes complete lines in order and reports every lost line', () => {
  const event: fc.Arbitrary<Event> = fc.oneof(
    {
      weight: 3,
      arbitrary: fc
        .oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 30_000, max: 400_000 }))
        .map((line) => ({ line }))
    },
    { weight: 2, arbitrary: fc.constant({ end: undefined }) },
    { weight: 1, arbitrary: fc.nat().map((end) => ({ end })) }
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const output = new ScriptedOutput()
      const sink = new LogSink(output, (lines) => `<lost ${lines}>\n`)
      let said = 0
      const say = (size: number) => sink.write(`<${said++} ${'x'.repeat(size)}>\n`)
      for (const event of events) {
        if ('line' in event) say(event.line)
        else output.end(event.end)
      }
      // The output works again, and one more line arrives.
      while (output.pending > 0) output.end()
      say(1)
      while (output.pending > 0) output.end()
      const numbers = output.whole
        .filter((line) => !line.startsWith('<lost'))
        .map((line) => Number(/^<(\d+) /.exec(line)![1]))
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
      expect(new Set(numbers).size).toBe(numbers.length)
      expect(sink.dropped).toBe(said - numbers.length)
      expect(output.whole.reduce((sum, line) => sum + lost(line), 0)).toBe(sink.dropped)
      // A torn line ends before the next one begins.
      for (const line of output.text.split('\n')) expect((line.match(/</g) ?? []).length).toBeLessThanOrEqual(1)
    }),
    { numRuns: 300 }
  )
})

it('queues at most its limit while nobody reads, and reports once how many lines were lost', () => {
  const output = new ScriptedOutput()
  const sink = new LogSink(output, (lines) => `<lost ${lines}>\n`)
  const line = `<${'x'.repeat(998)}>\n`
  for (let index = 0; index < 5000; index++) sink.write(line)
  const taken = 5000 - sink.dropped
  expect(taken * line.length).toBeLessThanOrEqual(MIB + output.pending)
  expect(taken * line.length).toBeGreaterThan(MIB - line.length)
  while (output.pending > 0) output.end()
  expect(output.whole.filter((each) => lost(each) > 0)).toEqual([`<lost ${sink.dropped}>`])
  expect(output.whole.at(-1)).toBe(`<lost ${sink.dropped}>`)
})

it('drops a line larger than its limit and continues', () => {
  const output = new ScriptedOutput()
  const sink = new LogSink(output, (lines) => `<lost ${lines}>\n`)
  sink.write(`<${'x'.repeat(MIB)}>\n`)
  sink.write('<next>\n')
  output.end()
  expect(output.text).toBe('<lost 1>\n<next>\n')
})

it('calls the flush callback once everything is written, and not before', () => {
  const output = new ScriptedOutput()
  const sink = new LogSink(output, () => '')
  let flushed = 0
  sink.flush(() => (flushed += 1))
  expect(flushed).toBe(1)
  sink.write('<one>\n')
  sink.write('<two>\n')
  sink.flush(() => (flushed += 1))
  output.end()
  expect(flushed).toBe(1)
  output.end()
  expect(flushed).toBe(2)
})

it('writes the queue at exit', () => {
  const output = new ScriptedOutput()
  const sink = new LogSink(output, () => '')
  for (const line of ['<one>\n', '<two>\n', '<three>\n']) sink.write(line)
  sink.end()
  expect(output.whole).toEqual(['<two>', '<three>'])
})
