import type { Readable } from 'node:stream'
import type { Log } from '../logger.js'

/** Longer lines are truncated, in bytes: a worker that prints an endless line must not fill the gateway's memory. */
export const MAX_LINE_BYTES = 65_536

const NEWLINE = 0x0a
const LEVELS: Record<number, 'trace' | 'debug' | 'info' | 'warn' | 'error'> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'error'
}

/** Forwards a worker's log: JSON lines at their own level, anything else (tracebacks, prints) as warnings. */
export function forwardLog(stream: Readable, log: Log): void {
  const lines = new Lines((line, left) => forward(line, left, log))
  stream.on('data', (chunk: Buffer) => lines.take(chunk))
  stream.on('end', () => lines.end())
  // The supervisor reports the process's exit.
  stream.on('error', () => undefined)
}

function forward(line: string, left: number, log: Log): void {
  if (line.trim() === '') return
  const record = left === 0 ? parseRecord(line) : undefined
  if (record === undefined) {
    log.warn(left === 0 ? {} : { left_out_bytes: left }, line)
    return
  }
  const { level, msg, time: _time, ...fields } = record
  log[LEVELS[level] ?? 'info'](fields, msg)
}

function parseRecord(line: string): { level: number; msg: string; time?: number } | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const record = JSON.parse(line) as { level?: unknown; msg?: unknown }
    return typeof record.level === 'number' && typeof record.msg === 'string'
      ? (record as { level: number; msg: string })
      : undefined
  } catch {
    return undefined
  }
}

/** Splits chunks of bytes into lines. Buffers at most MAX_LINE_BYTES. */
class Lines {
  readonly #onLine: (line: string, left: number) => void
  #held: Buffer[] = []
  #heldBytes = 0
  /** Bytes of the current line that were dropped. */
  #left = 0

  /** @param onLine called with each line and how many bytes of it were dropped */
  constructor(onLine: (line: string, left: number) => void) {
    this.#onLine = onLine
  }

  take(chunk: Buffer): void {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#hold(chunk.subarray(start, end))
      this.end()
      start = end + 1
    }
    this.#hold(chunk.subarray(start))
  }

  end(): void {
    if (this.#heldBytes > 0) this.#onLine(Buffer.concat(this.#held).toString(), this.#left)
    this.#held = []
    this.#heldBytes = 0
    this.#left = 0
  }

  #hold(part: Buffer): void {
    const held = part.subarray(0, MAX_LINE_BYTES - this.#heldBytes)
    // Copy, or a few bytes would keep the whole chunk alive.
    if (held.length > 0) this.#held.push(Buffer.from(held))
    this.#heldBytes += held.length
    this.#left += part.length - held.length
  }
}
