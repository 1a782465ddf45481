import type { Output } from './log-output.js'

/** Most bytes queued. Lines beyond it are dropped. */
const MOST_BYTES = 1_048_576
/** After the queue was full, accept lines again once no more than this is queued. */
const ROOM_AGAIN_BYTES = MOST_BYTES / 2
const CHUNK_BYTES = 65_536
const NEWLINE = Buffer.from('\n')

interface Line {
  readonly bytes: Buffer
  /** For a line that reports lost lines: how many. */
  readonly tells?: number
}

/**
 * Queues log lines and writes them when possible, so that logging can never stop the service. It neither blocks nor
 * throws, queues at most MOST_BYTES, and drops lines it cannot write. When writing works again, it logs the number lost.
 */
export class LogSink {
  readonly #output: Output
  readonly #note: (lost: number) => string
  readonly #shape: (line: string) => string
  #queue: Line[] = []
  #queuedBytes = 0
  /** Lines of the pending write. */
  #writing: Line[] = []
  #full = false
  /** Lost lines not reported yet. */
  #lost = 0
  #dropped = 0
  /** Whether the last write ended in the middle of a line. */
  #torn = false
  #onEmpty: (() => void)[] = []

  /**
   * @param note makes the line that reports lost lines
   * @param shape formats a line for the output
   */
  constructor(output: Output, note: (lost: number) => string, shape: (line: string) => string = (line) => line) {
    this.#output = output
    this.#note = note
    this.#shape = shape
  }

  /** Number of lines dropped since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Queues a line, which includes its newline. Called by pino. */
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

  /** Calls back once everything is written, which may be never if nobody reads the output. Called by pino. */
  flush(onEmpty: () => void): void {
    if (this.#writing.length === 0) onEmpty()
    else this.#onEmpty.push(onEmpty)
  }

  /** Writes what it can of the queue without blocking. Call it when the process exits. */
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
    // Lines lost in a failed write came before the queue, so report them first; lines that found it full came after it.
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

  /** @param written bytes of the lines; -1 if not even the newline before them was written */
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
