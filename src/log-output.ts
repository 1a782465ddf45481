import { fstatSync, write, writeSync } from 'node:fs'

const STDOUT = 1

/** A non-blocking destination of log lines. Takes one write at a time. */
export interface Output {
  /**
   * Writes bytes. Calls `done` once, asynchronously, with the error, if any, and the number of bytes written. While
   * nobody reads the output, that may never happen.
   */
  write: (bytes: Buffer, done: (error: Error | undefined, written: number) => void) => void
  /**
   * Writes as much as it can without blocking, while the process exits. Never throws.
   *
   * @param writing whether another write is pending
   */
  writeAtExit: (bytes: Buffer, writing: boolean) => void
}

/** The process's standard output. */
export function standardOutput(): Output {
  const stats = fstatSync(STDOUT)
  return stats.isFIFO() || stats.isSocket() ? pipeOutput() : fileOutput()
}

/**
 * Uses process.stdout, which writes to pipes and sockets without blocking. fs.write would block a libuv thread while
 * nobody reads, and a process cannot exit before its libuv threads finish.
 */
function pipeOutput(): Output {
  const { stdout } = process
  // Write callbacks report errors; without a listener the event would end the process.
  stdout.on('error', () => undefined)
  return {
    write: (bytes, done) => void stdout.write(bytes, (error) => done(error ?? undefined, error ? 0 : bytes.length)),
    // Node made the descriptor non-blocking, so a write to a full pipe fails instead of waiting.
    writeAtExit: tryWrite
  }
}

/** For files and devices, where fs.write fails soon if the disk is full or broken. */
function fileOutput(): Output {
  return {
    write(bytes, done) {
      let written = 0
      const next = () =>
        write(STDOUT, bytes, written, bytes.length - written, null, (error, count) => {
          written += count
          if (error === null && count > 0 && written < bytes.length) next()
          else done(error ?? undefined, written)
        })
      next()
    },
    writeAtExit(bytes, writing) {
      // A pending write may be blocked by a stopped terminal, and another one would block the exit.
      if (!writing) tryWrite(bytes)
    }
  }
}

function tryWrite(bytes: Buffer): void {
  try {
    writeSync(STDOUT, bytes)
  } catch {
    // Full or closed. The process exits anyway.
  }
}
