import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { commonHeaders } from '../../schemas/error.js'
import { sdapiExamples } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders } from '../../schemas/generate.js'
import { ref } from '../../schemas/ref.js'
import { SdapiImagesResponse, SdapiTxt2ImgRequest } from '../../schemas/sdapi.js'
import type { ImageService } from '../../service/service.js'
import { sendPieces } from '../answers/body.js'
import { JSON_TYPE } from '../answers/form.js'
import { answerHeaders, answerHeaderSchemas } from '../answers/headers.js'
import { callerOf, scopeOf, whenDone } from '../caller.js'
import { imagesAnswer } from './answer.js'
import { sdapiFailures } from './errors.js'
import { readSettings } from './settings.js'
import type { Tasks } from './tasks.js'
import { translate } from './translate.js'

interface Txt2ImgParts {
  service: ImageService
  tasks: Tasks
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
}

/** POST /txt2img makes images from a prompt. */
export const txt2imgRoute: FastifyPluginAsyncTypebox<Txt2ImgParts> = async (app, { service, tasks, withRecipe }) => {
  app.post(
    '/txt2img',
    {
      onRequest: app.countRequest,
      schema: {
        tags: ['automatic1111'],
        operationId: 'txt2img',
        summary: "Make images (AUTOMATIC1111's API)",
        description:
          "Takes the fields of the web UI's API. A field that asks for what Easel does not do is refused unless it has its neutral value.",
        headers: GenerateHeaders,
        body: ref(SdapiTxt2ImgRequest),
        response: {
          200: {
            description: 'The images, as files in base64.',
            headers: { ...commonHeaders, ...answerHeaderSchemas },
            content: { 'application/json': { schema: ref(SdapiImagesResponse), example: sdapiExamples.images } }
          },
          ...sdapiFailures(...ADMISSION_CODES, ...END_CODES)
        }
      }
    },
    async (request, reply) => {
      const body = request.body as SdapiTxt2ImgRequest
      const settings = readSettings(body.override_settings ?? {}, 'override_settings.')
      const offer = service.offerOf(settings.model)
      const translated = translate(
        body,
        settings,
        offer && {
          schedulers: offer.schedulers,
          usual: offer.defaults.scheduler,
          maxClipSkip: offer.limits.clip_skip
        }
      )
      const { run, replayed, detach } = service.submit(translated, callerOf(request, request.headers, translated))
      whenDone(run, request, reply, detach)
      tasks.add(scopeOf(request), {
        run,
        id: body.force_task_id ?? undefined,
        images: translated.num_images ?? 1,
        since: new Date()
      })
      if (replayed) reply.header('idempotent-replayed', 'true')
      const finished = await run.finished
      return sendPieces(
        reply.headers(answerHeaders(run, finished, withRecipe)),
        JSON_TYPE,
        imagesAnswer(body, finished, {
          batchSize: body.batch_size ?? 1,
          withPrompts: withRecipe,
          now: new Date()
        })
      )
    }
  )
}
