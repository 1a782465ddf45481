/** The part of pino that the layers below HTTP use. */
export interface Log {
  trace: (fields: object, message?: string) => void
  debug: (fields: object, message?: string) => void
  info: (fields: object, message?: string) => void
  warn: (fields: object, message?: string) => void
  error: (fields: object, message?: string) => void
  child: (fields: Record<string, unknown>) => Log
}
