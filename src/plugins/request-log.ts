import fp from 'fastify-plugin'

/** Probes and scrapes come every few seconds and would bury the rest. */
const QUIET = /^\/(healthz?|metrics)\b/

/** One line for each answered request: what was asked, the status, the time. Never a prompt. */
export const requestLogPlugin = fp(async (app) => {
  app.addHook('onResponse', async (request, reply) => {
    const path = request.url.split('?')[0]!
    const ms = Math.round(reply.elapsedTime)
    request.log[QUIET.test(path) ? 'debug' : 'info'](
      { method: request.method, path, status: reply.statusCode, ms, remote: request.ip },
      `${request.method} ${path} ${reply.statusCode} in ${ms} ms`
    )
  })
}, { name: 'request-log' })
