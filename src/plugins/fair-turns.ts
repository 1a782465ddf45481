import fp from 'fastify-plugin'
import { Turns } from '../turns.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether the route is about the server itself, and waits for nobody. */
    atOnce?: boolean
  }
}

/** One takes up to half a millisecond until it is refused or waits for its images. */
const REQUESTS_IN_A_TURN = 8

/** Begins a burst of requests a few at a time, so that who asks how the server is, on this port or another, is served in between. */
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
