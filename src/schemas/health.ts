import { Type, type Static } from 'typebox'
import { bareProperties, parametersWith } from '../parameters.js'

/** Body of GET /health. */
export const HealthResponse = Type.Object(
  {
    status: Type.Union([
      Type.Literal('ready'),
      Type.Literal('starting'),
      Type.Literal('unavailable'),
      Type.Literal('draining')
    ]),
    problem: Type.Union([Type.Null(), Type.String()], {
      description:
        'Why the service is unavailable although workers are connected: names the option or the default that the model cannot do.'
    }),
    version: Type.String(),
    uptime_seconds: Type.Number(),
    model: Type.Union([Type.Null(), Type.Object({ id: Type.String(), digest: Type.String(), dtype: Type.String() })]),
    sizes: Type.Array(Type.Array(Type.Integer()), { description: 'Sizes as [width, height].' }),
    coming: Type.Array(Type.Array(Type.Integer()), {
      description: 'Sizes that are still compiling. Each moves to `sizes`, or disappears if it cannot be compiled.'
    }),
    schedulers: Type.Array(Type.String()),
    features: Type.Array(Type.String(), {
      description:
        'Optional features that the workers support: `guidance_interval` allows guidance_start and guidance_end.'
    }),
    defaults: Type.Union([
      Type.Null(),
      Type.Object(bareProperties(parametersWith('option')), {
        description: 'Values for fields that a request omits.'
      })
    ]),
    limits: Type.Union([
      Type.Null(),
      Type.Object(bareProperties(parametersWith('limit')), {
        description: 'The largest values that a request may ask for.'
      })
    ]),
    requests: Type.Object({ in_flight: Type.Integer(), queued: Type.Integer(), limit: Type.Integer() }),
    workers: Type.Object({
      expected: Type.Integer(),
      ready: Type.Integer(),
      list: Type.Array(
        Type.Object({
          name: Type.String(),
          pid: Type.Integer(),
          devices: Type.Array(Type.String()),
          rows: Type.Integer(),
          rows_in_use: Type.Integer(),
          steps_total: Type.Integer(),
          silent_seconds: Type.Number({ description: 'Seconds since its last message.' })
        })
      )
    })
  },
  { $id: 'HealthResponse' }
)
export type HealthResponse = Static<typeof HealthResponse>
