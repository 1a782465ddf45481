import fp from 'fastify-plugin'

/** Probes and scrapes come every few seconds and would bury the rest. */
const QUIET = /^\/(v2\/)?(healthz?|metrics)\b/

/** One line for each answered request: what was asked, the status, the time. Never a prompt, unless asked for. */
export const requestLogPlugin = fp<{ logPrompts?: boolean }>(async (app, { logPrompts = false }) => {
  app.addHook('onResponse', async (request, reply) => {
    const path = request.url.split('?')[0]!
    const ms = Math.round(reply.elapsedTime)
    request.log[QUIET.test(path) ? 'debug' : 'info'](
      { method: request.method, path, status: reply.statusCode, ms, remote: request.ip, ...(logPrompts ? promptsOf(request.body) : {}) },
      `${request.method} ${path} ${reply.statusCode} in ${ms} ms`
    )
  })
}, { name: 'request-log' })

function promptsOf(body: unknown): { prompt?: unknown; negative_prompt?: unknown } {
  if (typeof body !== 'object' || body === null || !('prompt' in body)) return {}
  const { prompt, negative_prompt } = body as { prompt: unknown; negative_prompt?: unknown }
  return { prompt, negative_prompt }
}
