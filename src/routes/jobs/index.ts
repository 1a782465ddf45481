import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { EaselError } from '../../errors.js'
import { mimeOf } from '../../image/formats.js'
import { follow } from '../../jobs/follow.js'
import { isEnd, type JobName, type JobState } from '../../jobs/store.js'
import type { Outcome } from '../../jobs/submission.js'
import type { MemoryBudget } from '../../memory.js'
import { FORM_TYPE, pictureBodiesPlugin } from '../../plugins/picture-bodies.js'
import { commonHeaders, failures } from '../../schemas/error.js'
import { jobExample } from '../../schemas/examples.js'
import { GenerateForm, GenerateHeaders, GenerateRequest, JOB_CODES, STORE_CODES } from '../../schemas/generate.js'
import { acceptedJob } from '../../schemas/job-answer.js'
import { JobDocument, JobParams } from '../../schemas/job.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import { CLIENT_BYTES } from '../../service/run-memory.js'
import { ENTRY_PARTS, ENTRY_PATHS } from '../../uploads/entries.js'
import type { UploadStore } from '../../uploads/store.js'
import { sendPieces } from '../answers/body.js'
import { holdFor, leftBy } from '../answers/hold.js'
import { EVENT_HEADERS, eventsSchema } from '../answers/events.js'
import { BYTES_TYPE, EVENTS_TYPE, JSON_TYPE } from '../answers/form.js'
import { type CallerHeaders, scopeOf } from '../caller.js'
import { baseOf } from '../own-url.js'
import { bodyOf } from '../pictures.js'
import { documentOf } from './document.js'
import { type JobAnswers, submitJob } from './submit.js'
import { ignoreBodies } from '../without-body.js'

export interface JobParts extends JobAnswers {
  memory: MemoryBudget
  uploads: UploadStore
  /** bytes */
  bodyLimit: number
}

const EVENTS =
  'Server-sent events. Each is named by the status of the job and has the body of GET /jobs/{id}; its id is what to send as `Last-Event-ID` to resume, at any gateway. Events that newer ones have superseded may be missing. The last event is that of the end.'

const File = { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) }

/** /jobs: requests that are made later, and kept. */
export const jobRoutes: FastifyPluginAsyncTypebox<JobParts> = async (app, parts) => {
  const { jobs, memory, uploads, bodyLimit, publicUrl } = parts
  const { store } = jobs
  const nameOf = (request: FastifyRequest): JobName => ({
    scope: scopeOf(request),
    id: (request.params as { id: string }).id
  })
  const shown = (request: FastifyRequest, state: JobState) =>
    documentOf(jobs, nameOf(request), state, baseOf(request, publicUrl))

  app.get(
    '/jobs/:id',
    {
      schema: {
        tags: ['jobs'],
        operationId: 'getJob',
        summary: 'Get a job',
        params: JobParams,
        response: {
          200: success(ref(JobDocument), 'The job.', jobExample),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
        }
      }
    },
    async (request) => shown(request, await jobs.get(nameOf(request)))
  )

  app.get(
    '/jobs/:id/images/:index',
    {
      schema: {
        tags: ['jobs'],
        operationId: 'getJobImage',
        summary: 'Get an image of a job',
        params: Type.Object({
          ...JobParams.properties,
          index: Type.String({ pattern: '^\\d{1,4}$', description: 'The index of the image, from 0.' })
        }),
        response: {
          200: {
            description: 'The file.',
            headers: { ...commonHeaders, etag: Type.String({ description: 'The SHA-256 of the file.' }) },
            content: { [BYTES_TYPE]: File, 'image/png': File, 'image/jpeg': File, 'image/webp': File }
          },
          ...failures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'NOT_FOUND',
            'MEMORY_FULL',
            'RESULTS_UNAVAILABLE',
            ...STORE_CODES
          )
        }
      }
    },
    async (request, reply) => {
      const name = nameOf(request)
      const { outcome = '{}' } = await jobs.get(name)
      const { made } = JSON.parse(outcome) as Partial<Extract<Outcome, { made: unknown }>>
      const which = Number(request.params.index)
      const image = made?.images[which]
      if (made === undefined || image === undefined)
        throw new EaselError('NOT_FOUND', 'the job has no such image, or not yet')
      holdFor(memory, reply, image.bytes)
      const bytes = await jobs.image(name, made, which, leftBy(reply))
      if (bytes === undefined) throw new EaselError('NOT_FOUND', 'the image is no longer kept')
      reply.header('etag', `"${image.sha256}"`)
      return sendPieces(reply, mimeOf(image.format), [bytes])
    }
  )

  app.get(
    '/jobs/:id/events',
    {
      schema: {
        tags: ['jobs'],
        operationId: 'watchJob',
        summary: 'Watch a job',
        description: 'Streams what GET /jobs/{id} answers, now and after each change, until the job has ended.',
        params: JobParams,
        headers: Type.Pick(GenerateHeaders, ['last-event-id']),
        response: {
          200: {
            description: 'Events until the job ends.',
            headers: commonHeaders,
            content: { [EVENTS_TYPE]: { schema: eventsSchema(EVENTS) } }
          },
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', 'MEMORY_FULL', ...STORE_CODES)
        }
      }
    },
    async (request, reply) => {
      const name = nameOf(request)
      // An unknown job is a 404, not an empty stream.
      await jobs.get(name)
      holdFor(memory, reply, CLIENT_BYTES)
      const after = Number(request.headers['last-event-id'] ?? 0)
      return reply
        .type(EVENTS_TYPE)
        .headers(EVENT_HEADERS)
        .send(Readable.from(eventsOf(request, after, leftBy(reply)), { objectMode: false, highWaterMark: 1 }))
    }
  )

  await app.register(async (scope) => {
    ignoreBodies(scope)
    scope.delete(
      '/jobs/:id',
      {
        schema: {
          tags: ['jobs'],
          operationId: 'deleteJob',
          summary: 'Cancel a job, or forget one that has ended',
          params: JobParams,
          response: {
            204: Type.Null({ description: 'It is cancelled, or forgotten.', headers: commonHeaders }),
            ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
          }
        }
      },
      async (request, reply) => {
        await jobs.remove(nameOf(request))
        return reply.code(204).send(null)
      }
    )
  })

  await app.register(async (scope) => {
    await scope.register(pictureBodiesPlugin, {
      store: uploads,
      bodyLimit,
      json: { image: 'image', mask_image: 'mask_image', ...ENTRY_PATHS },
      form: { image: 'image', mask_image: 'mask_image', ...ENTRY_PARTS },
      properties: GenerateRequest.properties
    })
    scope.put(
      '/jobs/:id',
      {
        ...scope.pictureRoute,
        schema: {
          tags: ['jobs'],
          operationId: 'putJob',
          summary: 'Submit a job under a name of your own',
          description:
            'Takes what POST /generate takes. Sent again with the same body it is the same job, so a client that got no answer repeats it.',
          params: JobParams,
          headers: Type.Pick(GenerateHeaders, ['x-request-timeout']),
          body: {
            content: { [JSON_TYPE]: { schema: ref(GenerateRequest) }, [FORM_TYPE]: { schema: ref(GenerateForm) } }
          },
          response: {
            202: { ...acceptedJob, description: 'The job.' },
            ...failures(...JOB_CODES, 'JOB_EXISTS')
          }
        }
      },
      async (request, reply) => {
        // The id is what an Idempotency-Key would be.
        const { 'idempotency-key': _, ...headers } = request.headers as CallerHeaders
        return submitJob(parts, request, reply, bodyOf(request), headers, nameOf(request).id)
      }
    )
  })

  async function* eventsOf(request: FastifyRequest, after: number, left: AbortSignal): AsyncGenerator<string> {
    for await (const state of follow(store, nameOf(request), after, left)) {
      if (state === undefined) yield ': keep-alive\n\n'
      else
        yield `id: ${state.revision}\nevent: ${state.status}\ndata: ${JSON.stringify(await shown(request, state))}\n\n`
      if (state !== undefined && isEnd(state.status)) return
    }
  }
}
