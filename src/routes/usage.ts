import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { failures } from '../schemas/error.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import { UsageResponse } from '../schemas/usage.js'
import type { ImageService } from '../service/service.js'

const example: UsageResponse = {
  since: '2026-01-31T09:00:00.000Z',
  models: [
    {
      model: 'stable-diffusion-xl-base-1.0',
      busy_chip_seconds: 340.6,
      in_flight_chip_seconds: 0.6,
      lines: [
        { key: 'team-a', kind: 'encode', chip_seconds: 1.2 },
        { key: 'team-a', kind: 'denoise', chip_seconds: 310.4 },
        { key: 'team-a', kind: 'decode', chip_seconds: 9.9 },
        { key: null, kind: 'padding', chip_seconds: 12.5 },
        { key: null, kind: 'lost', chip_seconds: 6 }
      ]
    }
  ]
}

/** GET /usage says who used the chips. For operators: it names the keys, like the metrics. */
export const usageRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  const since = new Date().toISOString()
  app.get(
    '/usage',
    {
      schema: {
        tags: ['operations'],
        operationId: 'getUsage',
        summary: 'Who used the chips',
        description: 'Chip-seconds since the start, by model, access key and kind of work.',
        response: { 200: success(ref(UsageResponse), 'The ledger of each model.', example), ...failures() }
      }
    },
    async (): Promise<UsageResponse> => ({
      since,
      models: service.models.flatMap(({ name, served: { usage } }) => {
        if (name === undefined) return []
        const lines = usage.lines.map(({ key, kind, chipSeconds }) => ({
          key: key === '' ? null : key,
          kind,
          chip_seconds: chipSeconds
        }))
        return [{ model: name, busy_chip_seconds: usage.busy, in_flight_chip_seconds: usage.inFlight, lines }]
      })
    })
  )
}
