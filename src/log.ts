import { destination, pino, type Logger } from 'pino'
import pretty from 'pino-pretty'

/** The process's logger: JSON lines, or readable ones for a terminal. */
export function createLog(level: string, format: 'json' | 'pretty'): Logger {
  if (format === 'json') return pino({ level }, destination({ sync: false }))
  const stream = pretty({ sync: true, ignore: 'pid,hostname,reqId,requestId,worker', translateTime: 'SYS:HH:MM:ss', hideObject: true })
  return pino({ level }, stream)
}
