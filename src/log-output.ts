import { fstatSync, write, writeSync } from 'node:fs'

const STDOUT = 1

/** Where log lines go: takes one write at a time, and never makes the process wait for it. */
export interface Output {
  /**
   * Writes bytes. `done` is called once, later, with the error if there was one, and with how many bytes were written.
   * While nobody reads, it is not called at all.
   */
  write: (bytes: Buffer, done: (error: Error | undefined, written: number) => void) => void
  /** Writes bytes as the process exits, as far as that does not take waiting; never throws. */
  writeAtExit: (bytes: Buffer, writing: boolean) => void
}

/** The process's standard output. */
export function standardOutput(): Output {
  const stats = fstatSync(STDOUT)
  return stats.isFIFO() || stats.isSocket() ? pipeOutput() : fileOutput()
}

/**
 * Node writes to a pipe and to a socket without blocking. fs.write would block one of libuv's threads while nobody reads,
 * and a process does not exit before its threads are done.
 */
function pipeOutput(): Output {
  const { stdout } = process
  // Each write reports its own error.
  stdout.on('error', () => undefined)
  return {
    write: (bytes, done) => void stdout.write(bytes, (error) => done(error ?? undefined, error ? 0 : bytes.length)),
    // Node has made the descriptor non-blocking: what does not fit fails.
    writeAtExit: tryWrite
  }
}

/** A file or a device: one that is full, or a disk that fails, is an error soon. */
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
      // A write that is under way may be waiting for a terminal that somebody has stopped.
      if (!writing) tryWrite(bytes)
    }
  }
}

function tryWrite(bytes: Buffer): void {
  try {
    writeSync(STDOUT, bytes)
  } catch {
    // Full or closed: the process exits all the same.
  }
}
