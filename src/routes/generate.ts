import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { recipeHeader } from '../image/recipe.js'
import { ErrorResponse } from '../schemas/error.js'
import { GenerateRequest } from '../schemas/generate.js'
import type { Generated, ImageService } from '../service/service.js'

/** POST /generate: a prompt in, a PNG out. */
export const generateRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.post(
    '/generate',
    {
      schema: {
        summary: 'Make an image',
        body: GenerateRequest,
        response: {
          200: { description: 'The image, with its recipe inside.', content: { 'image/png': { schema: Type.Any() } } },
          '4xx': ErrorResponse,
          '5xx': ErrorResponse
        }
      }
    },
    async (request, reply) => {
      const signal = clientGone(request, reply)
      const generated = await service.generate(request.body, { id: randomUUID(), signal })
      request.log.debug({ seed: generated.recipe.seed, bytes: generated.png.length, timings: generated.timings }, 'image made')
      return reply.type('image/png').headers(recipeHeaders(generated)).send(generated.png)
    }
  )
}

/** A signal that fires when the client's connection closes before the answer is written. */
function clientGone(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort()
  })
  if (request.raw.socket.destroyed) controller.abort()
  return controller.signal
}

function recipeHeaders({ recipe, timings, truncated }: Generated): Record<string, string> {
  return {
    'easel-seed': String(recipe.seed),
    'easel-recipe': recipeHeader(recipe),
    'server-timing': serverTiming(timings),
    ...(truncated.length > 0 ? { 'easel-truncated': truncated.join(', ') } : {})
  }
}

/** @see https://www.w3.org/TR/server-timing/ */
function serverTiming(timings: Generated['timings']): string {
  return Object.entries(timings)
    .map(([name, ms]) => `${name.replace(/_ms$/, '')};dur=${ms.toFixed(1)}`)
    .join(', ')
}
