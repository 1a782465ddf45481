import { type DestinationStream, pino, type Logger, symbols } from 'pino'
import pretty from 'pino-pretty'
import { standardOutput } from './log-output.js'
import { LogSink } from './log-sink.js'

/**
 * The process's logger: JSON lines, or readable ones for a terminal. What becomes of standard output (a full disk, a
 * reader that is gone or stuck) is never anybody else's trouble: lines are dropped and counted.
 */
export function createLog(level: string, format: 'json' | 'pretty'): Logger {
  const shape =
    format === 'json'
      ? (line: string) => line
      : pretty.prettyFactory({
          ignore: 'pid,hostname,reqId,requestId,worker',
          translateTime: 'SYS:HH:MM:ss',
          hideObject: true
        })
  const sink = new LogSink(standardOutput(), (lost) => shape(lossLine(lost)), shape)
  process.once('exit', () => sink.end())
  return pino({ level }, sink)
}

/** Lines that a logger of `createLog` has dropped; 0 for another one. */
export function linesDropped(log: Logger): number {
  const stream = (log as { [symbols.streamSym]?: DestinationStream })[symbols.streamSym]
  return stream instanceof LogSink ? stream.dropped : 0
}

function lossLine(lost: number): string {
  let line = ''
  pino({ level: 'warn' }, { write: (text) => void (line = text) }).warn(
    { lost_lines: lost },
    `${lost} log lines were lost: they could not be written`
  )
  return line
}
