import fp from 'fastify-plugin'
import { excerpt } from '../excerpt.js'
import { MAX_PROMPT_LENGTH } from '../parameters.js'

/** Most characters of a path that a line holds, and holds twice. */
const PATH_LENGTH = 256

/** Probes and scrapes come every few seconds and would bury the rest. */
const QUIET = /^\/(v2\/)?(healthz?|metrics)\b/

/** The fields that LOG_PROMPTS is about. */
const PROMPTS: ReadonlySet<string> = new Set(['prompt', 'negative_prompt'])

/** One line for each answered request: what was asked, the status, the time. Never a prompt, unless asked for. */
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

/** The body may be one that was refused: what is in it is logged as far as it would have been taken. */
function promptsOf(body: unknown): Record<string, string> {
  if (typeof body !== 'object' || body === null) return {}
  const prompts = Object.entries(body).filter(
    (entry): entry is [string, string] => PROMPTS.has(entry[0]) && typeof entry[1] === 'string'
  )
  return Object.fromEntries(prompts.map(([name, text]) => [name, text.slice(0, MAX_PROMPT_LENGTH)]))
}
