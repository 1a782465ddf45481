import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { mimeOf } from '../image/formats.js'
import { FORM_TYPE, type PictureBodies, pictureBodiesPlugin } from '../plugins/picture-bodies.js'
import { GenerateResponse } from '../schemas/answer.js'
import { commonHeaders, failures } from '../schemas/error.js'
import { generateExample } from '../schemas/examples.js'
import {
  ADMISSION_CODES,
  END_CODES,
  GenerateForm,
  GenerateHeaders,
  GenerateRequest,
  JOB_FAILURES,
  RequestParams
} from '../schemas/generate.js'
import { acceptedJob } from '../schemas/job-answer.js'
import { ref } from '../schemas/ref.js'
import type { Run } from '../service/run.js'
import type { Places } from '../jobs/places.js'
import type { ImageService } from '../service/service.js'
import { ENTRY_PARTS, ENTRY_PATHS } from '../uploads/entries.js'
import type { UploadStore } from '../uploads/store.js'
import { sendPieces } from './answers/body.js'
import { EVENT_HEADERS, EVENTS_DESCRIPTION, eventsSchema, EventStream, eventTexts } from './answers/events.js'
import { BYTES_TYPE, chooseForm, EVENTS_TYPE, type Form, JSON_TYPE, MULTIPART_TYPE } from './answers/form.js'
import { answerHeaders, answerHeaderSchemas } from './answers/headers.js'
import { jsonAnswer } from './answers/json.js'
import { multipartAnswer } from './answers/multipart.js'
import { callerOf, scopeOf, whenDone } from './caller.js'
import { estimateRoute } from './estimate.js'
import { held } from './held.js'
import { type JobAnswers, prefersJob, submitJob } from './jobs/submit.js'
import { bodyOf, preparedOf } from './pictures.js'
import { pinned, unpinAfter } from './pinned.js'

export interface GenerateParts extends Pick<PictureBodies, 'bodyLimit'>, JobAnswers {
  service: ImageService
  places: Places
  uploads: UploadStore
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
}

/** The fields that are pictures, in JSON and in a form. */
const PICTURE_FIELDS = { image: 'image', mask_image: 'mask_image' } as const

/** Client generators recognise binary bodies by this format. OpenAPI 3.1 no longer requires it but still allows it. */
const File = { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) }
const Events = { schema: eventsSchema(EVENTS_DESCRIPTION) }

/** POST /generate makes images from a prompt; POST /estimate says what that would use. GET /requests/{id}/events watches a request made by another call. */
export const generateRoute: FastifyPluginAsyncTypebox<GenerateParts> = async (
  app,
  { service, places, withRecipe, uploads, bodyLimit, jobs, publicUrl }
) => {
  const textsOf = eventTexts(withRecipe)
  const bodies = {
    store: uploads,
    bodyLimit,
    json: { ...PICTURE_FIELDS, ...ENTRY_PATHS },
    form: { ...PICTURE_FIELDS, ...ENTRY_PARTS },
    properties: GenerateRequest.properties
  }
  await app.register(pictureBodiesPlugin, bodies)
  await app.register(estimateRoute, { service, places })

  app.post(
    '/generate',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['images'],
        operationId: 'generate',
        summary: 'Make images',
        description:
          '`Accept` chooses the form of the answer: the image file, JSON, multipart/mixed, or a stream of progress events.',
        headers: GenerateHeaders,
        body: {
          content: { [JSON_TYPE]: { schema: ref(GenerateRequest) }, [FORM_TYPE]: { schema: ref(GenerateForm) } }
        },
        response: {
          200: {
            description: 'The images, with their recipes embedded.',
            headers: { ...commonHeaders, ...answerHeaderSchemas },
            content: {
              // Generated clients use the first entry by default, so it is the image as bytes.
              [BYTES_TYPE]: File,
              'image/png': File,
              'image/jpeg': File,
              'image/webp': File,
              [JSON_TYPE]: { schema: ref(GenerateResponse), example: generateExample },
              [MULTIPART_TYPE]: File,
              [EVENTS_TYPE]: Events
            }
          },
          202: acceptedJob,
          ...failures(...ADMISSION_CODES, ...END_CODES, ...JOB_FAILURES)
        }
      }
    },
    async (request, reply) => {
      const asked = bodyOf(request)
      if (prefersJob(request)) return submitJob({ jobs, publicUrl }, request, reply, asked, request.headers)
      const { form, format } = chooseForm(request, asked)
      const body = format === undefined ? asked : { ...asked, output_format: format }
      const withTimeLeft = await held({ service, places }, request, {
        model: body.model,
        images: body.num_images ?? 1,
        timeouts: [body.timeout, request.headers['x-request-timeout']]
      })
      const caller = withTimeLeft(callerOf(request, request.headers, body))
      const { run, fresh, replayed, detach } = await places.during(body.model, caller, async () => {
        const agreed = await pinned(jobs, body, caller)
        return service.submit(agreed, caller, await preparedOf(service, request, agreed, caller))
      })
      if (fresh) unpinAfter(jobs, run, caller)
      whenDone(run, request, reply, detach)
      if (replayed) reply.header('idempotent-replayed', 'true')
      // A fresh run starts at event 0: `Last-Event-ID` then refers to another server's events.
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
          'Streams the events of a request in flight, found by the `x-request-id` its client sent. Starts at the first event, or after `Last-Event-ID`.',
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
      if (run === undefined) throw new EaselError('NOT_FOUND', 'no request in flight has this x-request-id')
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
