import type { Output } from './log-output.js'

/** What waits to be written, at most, in bytes. What comes when it is full is dropped. */
const MOST_BYTES = 1_048_576
/** After lines were dropped for want of room, lines are taken again when no more than this waits. */
const ROOM_AGAIN_BYTES = MOST_BYTES / 2
const CHUNK_BYTES = 65_536
const NEWLINE = Buffer.from('\n')

interface Line {
  readonly bytes: Buffer
  /** How many lost lines it tells of, if that is what it is for. */
  readonly tells?: number
}

/**
 * Takes log lines and writes them when it can. Serving never depends on it: it neither waits nor throws, holds at most
 * MOST_BYTES, drops what cannot be written, and says once, when writing works again, how many lines were lost.
 */
export class LogSink {
  readonly #output: Output
  readonly #note: (lost: number) => string
  readonly #shape: (line: string) => string
  #queue: Line[] = []
  #queuedBytes = 0
  /** Lines of the write that is under way. */
  #writing: Line[] = []
  #full = false
  /** Lines lost that were not told of yet. */
  #lost = 0
  #dropped = 0
  /** Whether the last write ended within a line. */
  #torn = false
  #onEmpty: (() => void)[] = []

  /**
   * @param note makes the line that says how many lines were lost
   * @param shape gives a line the form in which it is written
   */
  constructor(output: Output, note: (lost: number) => string, shape: (line: string) => string = (line) => line) {
    this.#output = output
    this.#note = note
    this.#shape = shape
  }

  /** Lines dropped since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Takes a line with its newline. (pino calls this.) */
  write(line: string): void {
    const bytes = Buffer.from(this.#shape(line))
    if (this.#queue.length > 0 && this.#queuedBytes + bytes.length > MOST_BYTES) this.#full = true
    if (this.#full || bytes.length > MOST_BYTES) {
      this.#lose([{ bytes }])
      return
    }
    this.#push({ bytes })
    this.#start()
  }

  /** Calls back once nothing waits any more: never, as long as nobody reads. (pino calls this.) */
  flush(onEmpty: () => void): void {
    if (this.#writing.length === 0) onEmpty()
    else this.#onEmpty.push(onEmpty)
  }

  /** Writes what waits as far as that takes no waiting. To be called when the process exits. */
  end(): void {
    if (this.#queue.length > 0)
      this.#output.writeAtExit(Buffer.concat(this.#queue.map(({ bytes }) => bytes)), this.#writing.length > 0)
    this.#queue = []
  }

  #push(line: Line): void {
    this.#queue.push(line)
    this.#queuedBytes += line.bytes.length
  }

  #start(): void {
    if (this.#writing.length > 0 || this.#queue.length === 0) return
    // What a failed write has lost comes before what waits; what found no room comes after it.
    const lines = this.#lost > 0 && !this.#full ? [this.#lossLine()] : []
    let bytes = 0
    while (this.#queue.length > 0 && (bytes === 0 || bytes + this.#queue[0]!.bytes.length <= CHUNK_BYTES)) {
      const line = this.#queue.shift()!
      lines.push(line)
      bytes += line.bytes.length
    }
    this.#queuedBytes -= bytes
    this.#writing = lines
    const before = this.#torn ? [NEWLINE] : []
    const chunk = Buffer.concat([...before, ...lines.map((line) => line.bytes)])
    this.#output.write(chunk, (error, written) => this.#written(error, written - before.length))
  }

  /** @param written bytes of the lines; -1 when not even the newline before them was written */
  #written(error: Error | undefined, written: number): void {
    const lines = this.#writing
    this.#writing = []
    let end = 0
    const lost = lines.filter(({ bytes }) => (end += bytes.length) > written)
    if (written >= 0) this.#torn = written > sizeOf(lines) - sizeOf(lost)
    this.#lose(lost)
    if (this.#full && this.#queuedBytes <= ROOM_AGAIN_BYTES) {
      this.#full = false
      if (error === undefined) this.#push(this.#lossLine())
    }
    this.#start()
    if (this.#writing.length === 0) for (const onEmpty of this.#onEmpty.splice(0)) onEmpty()
  }

  #lose(lines: readonly Line[]): void {
    for (const { tells } of lines) {
      this.#lost += tells ?? 1
      if (tells === undefined) this.#dropped += 1
    }
  }

  #lossLine(): Line {
    const tells = this.#lost
    this.#lost = 0
    return { bytes: Buffer.from(this.#note(tells)), tells }
  }
}

function sizeOf(lines: readonly Line[]): number {
  return lines.reduce((sum, { bytes }) => sum + bytes.length, 0)
}
