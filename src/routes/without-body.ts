import type { FastifyInstance } from 'fastify'

/** Ignores any body and content type of a scope's requests: some clients send them where there is nothing to say. */
export function ignoreBodies(scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
}
