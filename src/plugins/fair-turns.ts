import fp from 'fastify-plugin'
import { Turns } from '../turns.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether the route skips the queue, e.g. health and probes. */
    atOnce?: boolean
  }
}

/**
 * Requests started in one turn of the event loop. Each takes up to 0.5 ms before it is refused or awaits its images.
 */
const REQUESTS_IN_A_TURN = 8

/** Starts a burst of requests a few at a time, so that health probes on any port are answered in between. */
export const fairTurnsPlugin = fp(
  async (app) => {
    const turns = new Turns(REQUESTS_IN_A_TURN)
    app.addHook('onRequest', (request, _reply, done) => {
      if (request.routeOptions.config.atOnce === true) done()
      else turns.run(done)
    })
  },
  { name: 'fair-turns' }
)
