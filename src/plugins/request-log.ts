import fp from 'fastify-plugin'
import { excerpt } from '../excerpt.js'
import { MAX_PROMPT_LENGTH } from '../parameters.js'

/** Maximum characters of a path in a log line, which holds the path twice. */
const PATH_LENGTH = 256

/** Logged at debug level: probes and scrapes come every few seconds and would bury the rest. */
const QUIET = /^\/(v2\/)?(healthz?|metrics)\b/

/** The fields logged with LOG_PROMPTS. */
const PROMPTS: ReadonlySet<string> = new Set(['prompt', 'negative_prompt'])

/** Logs one line for each answered request: method, path, status and time, and prompts only if `logPrompts`. */
export const requestLogPlugin = fp<{ logPrompts?: boolean }>(
  async (app, { logPrompts = false }) => {
    app.addHook('onResponse', async (request, reply) => {
      const path = excerpt(request.url.split('?')[0]!, PATH_LENGTH)
      const ms = Math.round(reply.elapsedTime)
      request.log[QUIET.test(path) ? 'debug' : 'info'](
        {
          method: request.method,
          path,
          status: reply.statusCode,
          ms,
          remote: request.ip,
          ...(logPrompts ? promptsOf(request.body) : {})
        },
        `${request.method} ${path} ${reply.statusCode} in ${ms} ms`
      )
    })
  },
  { name: 'request-log' }
)

/** The body may have been refused, so check types here and cut prompts to the longest accepted length. */
function promptsOf(body: unknown): Record<string, string> {
  if (typeof body !== 'object' || body === null) return {}
  const prompts = Object.entries(body).filter(
    (entry): entry is [string, string] => PROMPTS.has(entry[0]) && typeof entry[1] === 'string'
  )
  return Object.fromEntries(prompts.map(([name, text]) => [name, text.slice(0, MAX_PROMPT_LENGTH)]))
}
