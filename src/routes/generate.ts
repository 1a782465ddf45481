import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { mimeOf } from '../image/formats.js'
import { GenerateResponse } from '../schemas/answer.js'
import { commonHeaders, failures } from '../schemas/error.js'
import { generateExample } from '../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders, GenerateRequest, RequestParams } from '../schemas/generate.js'
import { ref } from '../schemas/ref.js'
import type { Run } from '../service/run.js'
import type { ImageService } from '../service/service.js'
import { sendPieces } from './answers/body.js'
import { EVENT_HEADERS, EVENTS_DESCRIPTION, eventsSchema, EventStream, eventTexts } from './answers/events.js'
import { BYTES_TYPE, chooseForm, EVENTS_TYPE, type Form, JSON_TYPE, MULTIPART_TYPE } from './answers/form.js'
import { answerHeaders, answerHeaderSchemas } from './answers/headers.js'
import { jsonAnswer } from './answers/json.js'
import { multipartAnswer } from './answers/multipart.js'
import { callerOf, scopeOf, whenDone } from './caller.js'

export interface GenerateParts {
  service: ImageService
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
}

/** Generators of clients know bytes by this format, which OpenAPI 3.1 no longer needs and still allows. */
const File = { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) }
const Events = { schema: eventsSchema(EVENTS_DESCRIPTION) }

/** POST /generate: a prompt in, images out. GET /requests/{id}/events: the events of a request that someone else waits for. */
export const generateRoute: FastifyPluginAsyncTypebox<GenerateParts> = async (app, { service, withRecipe }) => {
  const textsOf = eventTexts(withRecipe)

  app.post(
    '/generate',
    {
      onRequest: app.countRequest,
      schema: {
        tags: ['images'],
        operationId: 'generate',
        summary: 'Make images',
        description:
          '`Accept` chooses the form of the answer: the image itself, JSON, multipart/mixed, or a stream of events as it is made.',
        headers: GenerateHeaders,
        body: ref(GenerateRequest),
        response: {
          200: {
            description: 'The images, with their recipes inside.',
            headers: { ...commonHeaders, ...answerHeaderSchemas },
            content: {
              // The first is what clients are generated for that name no form: the image, as bytes.
              [BYTES_TYPE]: File,
              'image/png': File,
              'image/jpeg': File,
              'image/webp': File,
              [JSON_TYPE]: { schema: ref(GenerateResponse), example: generateExample },
              [MULTIPART_TYPE]: File,
              [EVENTS_TYPE]: Events
            }
          },
          ...failures(...ADMISSION_CODES, ...END_CODES)
        }
      }
    },
    async (request, reply) => {
      const { form, format } = chooseForm(request, request.body)
      const body = format === undefined ? request.body : { ...request.body, output_format: format }
      const { run, fresh, replayed, detach } = service.submit(body, callerOf(request, request.headers, body))
      whenDone(run, request, reply, detach)
      if (replayed) reply.header('idempotent-replayed', 'true')
      // Ids of another server's events say nothing about a run that begins here: none of it has been seen.
      return form === 'events'
        ? streamEvents(run, fresh ? 0 : lastSeen(request), reply)
        : answer(run, form, reply, withRecipe)
    }
  )

  app.get(
    '/requests/:id/events',
    {
      schema: {
        tags: ['images'],
        operationId: 'watchRequest',
        summary: 'Watch a request',
        description:
          'The events of a request in flight, from its first or from after `Last-Event-ID`, by the `x-request-id` that its client gave it.',
        params: RequestParams,
        headers: Type.Pick(GenerateHeaders, ['last-event-id']),
        response: {
          200: {
            description: 'Events until the request ends.',
            headers: commonHeaders,
            content: { [EVENTS_TYPE]: Events }
          },
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', 'CONCURRENCY_LIMITED', 'MEMORY_FULL')
        }
      }
    },
    async (request, reply) => {
      const [run] = service.find(scopeOf(request), request.params.id)
      if (run === undefined) throw new EaselError('NOT_FOUND', 'no request in flight has this id')
      whenDone(run, request, reply, service.watch(run))
      return streamEvents(run, lastSeen(request), reply)
    }
  )

  function streamEvents(run: Run, after: number, reply: FastifyReply): FastifyReply {
    return reply
      .type(EVENTS_TYPE)
      .headers(EVENT_HEADERS)
      .send(new EventStream(run, { after, piecesOf: textsOf(run) }))
  }
}

function lastSeen(request: FastifyRequest): number {
  return Number(request.headers['last-event-id'] ?? 0)
}

async function answer(
  run: Run,
  form: Exclude<Form, 'events'>,
  reply: FastifyReply,
  withRecipe: boolean
): Promise<FastifyReply> {
  const finished = await run.finished
  reply.headers(answerHeaders(run, finished, withRecipe))
  if (form === 'json') return sendPieces(reply, JSON_TYPE, jsonAnswer(run, finished, withRecipe))
  if (form === 'multipart') {
    const { type, pieces } = multipartAnswer(finished, withRecipe)
    return sendPieces(reply, type, pieces)
  }
  const [image] = finished.images
  return sendPieces(reply, mimeOf(image!.format), [image!.bytes])
}
