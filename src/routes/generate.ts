import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { mimeOf } from '../image/formats.js'
import { GenerateResponse } from '../schemas/answer.js'
import { ErrorResponse } from '../schemas/error.js'
import { GenerateHeaders, GenerateRequest } from '../schemas/generate.js'
import { fingerprintOf } from '../service/idempotency.js'
import type { Run } from '../service/run.js'
import type { ImageService } from '../service/service.js'
import { EVENT_HEADERS, eventStream } from './answers/events.js'
import { chooseForm, EVENTS_TYPE, type Form, JSON_TYPE, MULTIPART_TYPE } from './answers/form.js'
import { answerHeaders } from './answers/headers.js'
import { jsonAnswer } from './answers/json.js'
import { multipartAnswer } from './answers/multipart.js'

export interface GenerateParts {
  service: ImageService
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
}

const File = { schema: Type.Any() }

/** POST /generate: a prompt in, images out. */
export const generateRoute: FastifyPluginAsyncTypebox<GenerateParts> = async (app, { service, withRecipe }) => {
  app.post(
    '/generate',
    {
      schema: {
        summary: 'Make images',
        description: '`Accept` chooses the form of the answer: the image itself, JSON, multipart/mixed, or a stream of events as it is made.',
        headers: GenerateHeaders,
        body: GenerateRequest,
        response: {
          200: {
            description: 'The images, with their recipes inside.',
            content: { 'image/png': File, 'image/jpeg': File, 'image/webp': File, [JSON_TYPE]: { schema: GenerateResponse }, [MULTIPART_TYPE]: File, [EVENTS_TYPE]: File }
          },
          '4xx': ErrorResponse,
          '5xx': ErrorResponse
        }
      }
    },
    async (request, reply) => {
      const { form, format } = chooseForm(request, request.body)
      const body = format === undefined ? request.body : { ...request.body, output_format: format }
      const key = request.headers['idempotency-key']
      const timeout = request.headers['x-request-timeout']
      const { run, replayed } = service.submit(body, {
        id: request.id,
        scope: '',
        key: key === undefined ? undefined : { scope: '', key, fingerprint: fingerprintOf(body) },
        timeout: timeout === undefined ? undefined : Number(timeout) * 1000
      })
      if (replayed) reply.header('idempotent-replayed', 'true')
      const detach = attach(run, request, reply)
      if (form !== 'events') return answer(run, form, reply, withRecipe)
      const after = Number(request.headers['last-event-id'] ?? 0)
      return reply.type(EVENTS_TYPE).headers(EVENT_HEADERS).send(eventStream(run, { after, withRecipe, onClose: detach }))
    }
  )
}

/** The client waits for the run until its connection closes. */
function attach(run: Run, request: FastifyRequest, reply: FastifyReply): () => void {
  const detach = run.attach()
  reply.raw.once('close', detach)
  if (request.raw.socket.destroyed) detach()
  return detach
}

async function answer(run: Run, form: Exclude<Form, 'events'>, reply: FastifyReply, withRecipe: boolean): Promise<FastifyReply> {
  const finished = await run.finished
  reply.headers(answerHeaders(run, finished, withRecipe))
  if (form === 'json') return reply.send(jsonAnswer(run, finished, withRecipe))
  if (form === 'multipart') {
    const { type, body } = multipartAnswer(finished, withRecipe)
    return reply.type(type).send(body)
  }
  const [image] = finished.images
  return reply.type(mimeOf(image!.format)).send(image!.bytes)
}
