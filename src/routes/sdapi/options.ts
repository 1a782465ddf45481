import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../../errors.js'
import { commonHeaders } from '../../schemas/error.js'
import { sdapiExamples } from '../../schemas/examples.js'
import { ref } from '../../schemas/ref.js'
import { SdapiOptions } from '../../schemas/sdapi.js'
import { success } from '../../schemas/success.js'
import { NOT_READY_RETRY_SECONDS } from '../../service/failures.js'
import type { ImageService } from '../../service/service.js'
import { sendPieces } from '../answers/body.js'
import { JSON_TYPE } from '../answers/form.js'
import { sdapiFailures } from './errors.js'
import { readSettings, type Settings, settingsOf } from './settings.js'

/** GET and POST /options. No client can change a setting, since it would decide the images of others. */
export const optionsRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  const current = (): Required<SdapiOptions> => {
    const { offer } = service
    if (offer === undefined) throw new EaselError('NOT_READY', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    return settingsOf(offer.model.id, offer.defaults)
  }

  app.get(
    '/options',
    {
      schema: {
        tags: ['automatic1111'],
        operationId: 'getOptions',
        summary: 'The settings of requests without override_settings',
        response: {
          200: success(ref(SdapiOptions), 'The settings.', sdapiExamples.options),
          ...sdapiFailures('UNAUTHORIZED', 'NOT_READY')
        }
      }
    },
    async () => current()
  )

  app.post(
    '/options',
    {
      schema: {
        tags: ['automatic1111'],
        operationId: 'setOptions',
        summary: 'Check settings',
        description:
          'Changes nothing. Takes the values that GET /sdapi/v1/options has and refuses others: a request has its own in override_settings.',
        body: ref(SdapiOptions),
        response: {
          200: {
            description: 'These are the settings.',
            headers: commonHeaders,
            content: { 'application/json': { schema: Type.Null(), examples: { done: { value: null } } } }
          },
          ...sdapiFailures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'UNSUPPORTED_FEATURE',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'EXPECTATION_FAILED',
            'MEMORY_FULL',
            'NOT_READY'
          )
        }
      }
    },
    async (request, reply) => {
      refuseChanges(request.body as Settings, current())
      return sendPieces(reply, JSON_TYPE, ['null'])
    }
  )
}

/** Each setting on its own, to name it. */
function refuseChanges(wanted: Settings, current: Required<SdapiOptions>): void {
  const now: Record<string, unknown> = readSettings(current, '')
  for (const [field, value] of Object.entries(wanted)) {
    const [asked] = Object.entries(readSettings({ [field]: value }, ''))
    if (asked === undefined || asked[1] === now[asked[0]]) continue
    throw new EaselError(
      'UNSUPPORTED_FEATURE',
      `${field} must be ${current[field as keyof SdapiOptions]}: clients change no settings of this server; a request has its own in override_settings`,
      { field }
    )
  }
}
