// @ts-check

const FATAL = 60

/** Reads a gateway's log, and collects lines that must not occur. */
export class LogWatch {
  /**
   * @param {import('node:stream').Readable} stream
   * @param {(record: { level: number, msg?: string, code?: string }) => void} [onRecord] called with each line's record
   */
  constructor(stream, onRecord = () => undefined) {
    /** @type {string[]} lines that report an internal error, or are no JSON */
    this.bad = []
    this.onRecord = onRecord
    let rest = ''
    stream.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.read(line)
    })
  }

  /** @param {string} line */
  read(line) {
    let record
    try {
      record = JSON.parse(line)
    } catch {
      this.bad.push(line)
      return
    }
    if (record.level >= FATAL || record.code === 'INTERNAL') this.bad.push(line)
    this.onRecord(record)
  }
}
