import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { FORM_TYPE, type PictureBodies, pictureBodiesPlugin } from '../../plugins/picture-bodies.js'
import { commonHeaders } from '../../schemas/error.js'
import { sdapiExamples } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders, type GenerateRequest } from '../../schemas/generate.js'
import { ref } from '../../schemas/ref.js'
import {
  SdapiImagesResponse,
  type SdapiImagesRequest,
  SdapiImg2ImgRequest,
  SdapiTxt2ImgRequest
} from '../../schemas/sdapi.js'
import type { Places } from '../../jobs/places.js'
import type { Offer } from '../../service/offer.js'
import type { ImageService } from '../../service/service.js'
import type { UploadStore } from '../../uploads/store.js'
import { sendPieces } from '../answers/body.js'
import { JSON_TYPE } from '../answers/form.js'
import { answerHeaders, answerHeaderSchemas } from '../answers/headers.js'
import { callerOf, scopeOf, whenDone } from '../caller.js'
import { held } from '../held.js'
import { preparedOf } from '../pictures.js'
import { MAX_UNITS } from '../../schemas/sdapi-controlnet.js'
import { imagesAnswer } from './answer.js'
import { controlsOf } from './controlnet.js'
import { sdapiFailures } from './errors.js'
import { img2img, type Kind, txt2img } from './kinds.js'
import { refinerOf } from './refiner.js'
import { readSettings } from './settings.js'
import { secondPassOf } from './second-pass.js'
import { startOf } from './start.js'
import type { Tasks } from './tasks.js'
import { translate } from './translate.js'

export interface ImagesParts extends Pick<PictureBodies, 'bodyLimit'> {
  service: ImageService
  places: Places
  tasks: Tasks
  uploads: UploadStore
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
}

/** Where the units of the ControlNet extension have pictures, under either of its names. */
const UNIT = { list: 'controls', most: MAX_UNITS } as const
const UNITS = Object.fromEntries(
  ['controlnet', 'ControlNet'].flatMap((script) =>
    ['image', 'image.image', 'input_image', 'input_image.image'].map((field) => [
      `alwayson_scripts.${script}.args.*.${field}`,
      UNIT
    ])
  )
)

/** Where bodies have pictures. */
const PICTURES = { ...UNITS, 'init_images.*': 'image', mask: 'mask_image' } as const

const NEUTRAL = 'A field that asks for what Easel does not do is refused unless it has its neutral value.'

const shared = {
  tags: ['automatic1111'],
  headers: GenerateHeaders,
  response: {
    200: {
      description: 'The images, as files in base64.',
      headers: { ...commonHeaders, ...answerHeaderSchemas },
      content: { [JSON_TYPE]: { schema: ref(SdapiImagesResponse), example: sdapiExamples.images } }
    },
    ...sdapiFailures(...ADMISSION_CODES, ...END_CODES)
  }
}

/** POST /txt2img makes images from a prompt, and POST /img2img from a prompt and a picture. */
export const imageRoutes: FastifyPluginAsyncTypebox<ImagesParts> = async (app, parts) => {
  await app.register(async (scope) => {
    const { uploads, bodyLimit } = parts
    await scope.register(pictureBodiesPlugin, { store: uploads, bodyLimit, json: PICTURES, form: {}, properties: {} })
    scope.removeContentTypeParser(FORM_TYPE)
    scope.post(
      '/txt2img',
      {
        ...scope.pictureRoute,
        schema: {
          ...shared,
          operationId: 'txt2img',
          summary: "Make images (AUTOMATIC1111's API)",
          description: `Takes the fields of the web UI's API. ${NEUTRAL}`,
          body: ref(SdapiTxt2ImgRequest)
        }
      },
      async (request, reply) => {
        const second = (offer?: Offer) => secondPassOf(request.body as SdapiTxt2ImgRequest, offer)
        await paint(parts, txt2img, { request, reply, more: second })
        return reply
      }
    )
    scope.post(
      '/img2img',
      {
        ...scope.pictureRoute,
        schema: {
          ...shared,
          operationId: 'img2img',
          summary: "Make images from a picture (AUTOMATIC1111's API)",
          description: `Starts from the picture, or repaints what its mask says. ${NEUTRAL}`,
          body: ref(SdapiImg2ImgRequest)
        }
      },
      async (request, reply) => {
        await paint(parts, img2img, { request, reply, more: () => startOf(request.body as SdapiImg2ImgRequest) })
        return reply
      }
    )
  })
}

interface Exchange {
  readonly request: FastifyRequest<{ Headers: Static<typeof GenerateHeaders> }>
  readonly reply: FastifyReply
  /** What our request says besides the fields that both kinds have. */
  readonly more: (offer: Offer | undefined) => Partial<GenerateRequest>
}

async function paint(
  { service, places, tasks, withRecipe }: ImagesParts,
  kind: Kind,
  { request, reply, more }: Exchange
): Promise<void> {
  const body = request.body as SdapiImagesRequest
  const settings = readSettings(body.override_settings ?? {}, 'override_settings.')
  const withTimeLeft = await held({ service, places }, request, {
    model: settings.model,
    images: (body.batch_size ?? 1) * (body.n_iter ?? 1),
    timeouts: [request.headers['x-request-timeout']]
  })
  const offer = service.offerOf(settings.model)
  const offered = offer && {
    schedulers: offer.schedulers,
    usual: offer.defaults.scheduler,
    maxClipSkip: offer.limits.clip_skip
  }
  const rest = more(offer)
  const controls = controlsOf(body.alwayson_scripts, rest.image)
  const refined = refinerOf(body, offer)
  const translated = { ...translate(body, kind, settings, offered), ...rest, ...controls, ...refined }
  const caller = withTimeLeft(callerOf(request, request.headers, translated))
  const { run, replayed, detach } = await places.during(translated.model, caller, async () =>
    service.submit(translated, caller, await preparedOf(service, request, translated, caller))
  )
  whenDone(run, request, reply, detach)
  tasks.add(scopeOf(request), {
    run,
    kind: kind.name,
    id: body.force_task_id ?? undefined,
    images: translated.num_images ?? 1,
    since: new Date()
  })
  if (replayed) reply.header('idempotent-replayed', 'true')
  const finished = await run.finished
  sendPieces(
    reply.headers(answerHeaders(run, finished, withRecipe)),
    JSON_TYPE,
    imagesAnswer(body, finished, {
      kind,
      batchSize: body.batch_size ?? 1,
      withPrompts: withRecipe,
      now: new Date()
    })
  )
}
