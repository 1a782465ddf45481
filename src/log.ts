import { type DestinationStream, pino, type Logger, symbols } from 'pino'
import pretty from 'pino-pretty'
import { standardOutput } from './log-output.js'
import { LogSink } from './log-sink.js'

/**
 * Creates the process's logger on standard output: JSON lines, or readable ones for a terminal. If the output fails or
 * blocks (full disk, reader gone or stuck), it drops and counts lines instead of blocking the process.
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

/** Number of lines that a logger from `createLog` has dropped; 0 for any other logger. */
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
