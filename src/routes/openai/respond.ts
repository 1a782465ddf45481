import type { FastifyReply, FastifyRequest } from 'fastify'
import type { PictureBodies } from '../../plugins/picture-bodies.js'
import type { OpenAiImagesRequest } from '../../schemas/openai.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import type { Results } from '../../results/results.js'
import type { Finished, Run } from '../../service/run.js'
import { EaselError } from '../../errors.js'
import type { Jobs } from '../../jobs/jobs.js'
import type { Places } from '../../jobs/places.js'
import { NOT_READY_RETRY_SECONDS } from '../../service/failures.js'
import type { Offer } from '../../service/offer.js'
import type { ImageService } from '../../service/service.js'
import type { UploadStore } from '../../uploads/store.js'
import { sendPieces } from '../answers/body.js'
import { EVENT_HEADERS, EventStream } from '../answers/events.js'
import { EVENTS_TYPE, JSON_TYPE } from '../answers/form.js'
import { answerHeaders } from '../answers/headers.js'
import { type CallerHeaders, callerOf, scopeOf, whenDone } from '../caller.js'
import { held } from '../held.js'
import { prefersJob, submitJob } from '../jobs/submit.js'
import { absoluteUrl, baseOf } from '../own-url.js'
import { preparedOf } from '../pictures.js'
import { pinned, unpinAfter } from '../pinned.js'
import { imagesResponse, streamPieces } from './answer.js'
import { modelOf, partialImagesOf, responseFormatOf, type Translation } from './translate.js'

export interface OpenAiParts {
  service: ImageService
  jobs: Jobs
  places: Places
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
  /** Whether to replace a size that is not offered by the nearest one. */
  snapSizes: boolean
  /** Where images are stored that are asked for as URLs; undefined for data: URLs. */
  results: Results | undefined
  /** What URLs of the gateway's own begin with; undefined for what the client called it. */
  publicUrl: string | undefined
}

/** What routes whose requests have pictures need. */
export interface PictureParts extends OpenAiParts, Pick<PictureBodies, 'bodyLimit'> {
  uploads: UploadStore
}

/** What a request says about its answer, and its model. */
type Asked = Pick<OpenAiImagesRequest, 'model' | 'n' | 'stream' | 'partial_images' | 'response_format'>

export interface Making {
  asked: Asked
  headers: CallerHeaders
  /** Names the events of a stream. */
  kind: 'image_generation' | 'image_edit'
  /** Translates the request, but for its model, to ours. */
  translate: (offered: Translation) => GenerateRequest
}

/** Makes the images of an OpenAI request and answers in its form. */
export async function respond(
  parts: OpenAiParts,
  request: FastifyRequest,
  reply: FastifyReply,
  { asked, headers, kind, translate }: Making
): Promise<FastifyReply> {
  const { service, jobs, places, withRecipe } = parts
  // What a request means here depends on what is offered, so a job cannot be submitted before that is known either.
  const withTimeLeft = await held(parts, request, {
    model: chosenModel(service, asked),
    images: asked.n ?? 1,
    timeouts: [headers['x-request-timeout']]
  })
  const { request: translated, offer } = requestOf(parts, asked, translate)
  if (prefersJob(request)) {
    if (offer === undefined) throw new EaselError('NOT_READY', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    return reply.send(await submitJob(parts, request, reply, translated, headers))
  }
  const caller = withTimeLeft(callerOf(request, headers, translated))
  const { run, fresh, replayed, detach } = await places.during(translated.model, caller, async () => {
    const agreed = await pinned(jobs, translated, caller)
    return service.submit(agreed, caller, await preparedOf(service, request, agreed, caller))
  })
  if (fresh) unpinAfter(jobs, run, caller)
  whenDone(run, request, reply, detach)
  if (replayed) reply.header('idempotent-replayed', 'true')
  if (asked.stream === true) {
    const piecesOf = streamPieces(run, partialImagesOf(asked), kind)
    return reply
      .type(EVENTS_TYPE)
      .headers(EVENT_HEADERS)
      .send(new EventStream(run, { after: 0, piecesOf }))
  }
  const finished = await run.finished
  const format = responseFormatOf(asked)
  const urls = format === 'url' ? await storedUrls(parts, request, run, finished) : undefined
  return sendPieces(
    reply.headers(answerHeaders(run, finished, withRecipe)),
    JSON_TYPE,
    imagesResponse(run, finished, format, urls)
  )
}

function chosenModel(service: ImageService, asked: Asked): string | undefined {
  return modelOf(
    asked,
    service.models.flatMap(({ name }) => name ?? [])
  )
}

/**
 * Our request for OpenAI's, with what its model offers; undefined while no worker has said that.
 *
 * @throws EaselError MODEL_NOT_FOUND
 */
export function requestOf(
  { service, snapSizes }: Pick<OpenAiParts, 'service' | 'snapSizes'>,
  asked: Asked,
  translate: Making['translate']
): { request: GenerateRequest; offer: Offer | undefined } {
  const model = chosenModel(service, asked)
  const offer = service.offerOf(model)
  const translation = translate({
    steps: offer?.defaults.num_inference_steps ?? 1,
    presets: offer?.presets ?? [],
    sizes: offer?.sizes ?? [],
    defaultSize: offer && [offer.defaults.width, offer.defaults.height],
    snap: snapSizes
  })
  return { request: model === undefined ? translation : { ...translation, model }, offer }
}

/** URLs under which the images of a request are stored; undefined if the server stores none. */
async function storedUrls(
  { service, results, publicUrl }: OpenAiParts,
  request: FastifyRequest,
  run: Run,
  { images }: Finished
): Promise<string[] | undefined> {
  if (results === undefined) return undefined
  // While they are being stored, the images stay in memory even if the client leaves.
  const stop = service.watch(run)
  try {
    const urls = await results.urls(scopeOf(request), images)
    return urls.map((url) => absoluteUrl(url, baseOf(request, publicUrl)))
  } finally {
    stop()
  }
}
