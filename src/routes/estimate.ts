import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { FORM_TYPE, JSON_TYPE } from '../plugins/picture-bodies.js'
import { chipSecondsJson } from '../service/chip-seconds.js'
import { failures } from '../schemas/error.js'
import { EstimateResponse } from '../schemas/estimate.js'
import { estimateExample } from '../schemas/examples.js'
import { ADMISSION_CODES, GenerateForm, GenerateRequest } from '../schemas/generate.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { Places } from '../jobs/places.js'
import type { ImageService } from '../service/service.js'
import { callerOf } from './caller.js'
import { bodyOf, preparedOf } from './pictures.js'

export interface EstimateParts {
  service: ImageService
  places: Places
}

/** POST /estimate says what a request for images would use. Register it in the scope of POST /generate's bodies. */
export const estimateRoute: FastifyPluginAsyncTypebox<EstimateParts> = async (app, { service, places }) => {
  app.post(
    '/estimate',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['images'],
        operationId: 'estimate',
        summary: 'Estimate what a request would use',
        description: 'Takes what POST /generate takes, makes nothing, and refuses what that would refuse.',
        body: {
          content: { [JSON_TYPE]: { schema: ref(GenerateRequest) }, [FORM_TYPE]: { schema: ref(GenerateForm) } }
        },
        response: {
          200: success(ref(EstimateResponse), 'The estimate.', estimateExample),
          // Pictures wait for a decoder, for which a client may not wait.
          ...failures(...ADMISSION_CODES.filter((code) => !NOT_HERE.has(code)), 'CANCELLED', 'DEADLINE_EXCEEDED')
        }
      }
    },
    async (request) => {
      const body = bodyOf(request)
      const caller = callerOf(request, {}, body)
      await places.refuseWhenFull(body.model, caller)
      const prepared = await preparedOf(service, request, body, caller)
      const { used, seconds, waitSeconds } = service.estimate(body, caller, prepared)
      return {
        chip_seconds: used === undefined ? null : chipSecondsJson(used),
        wait_seconds: waitSeconds ?? null,
        seconds: seconds ?? null
      }
    }
  )
}

/** What only POST /generate answers: nothing here has a form or an idempotency key. */
const NOT_HERE: ReadonlySet<string> = new Set(['NOT_ACCEPTABLE', 'IDEMPOTENCY_KEY_REUSED'])
