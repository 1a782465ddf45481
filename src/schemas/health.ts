import { Type, type Static } from 'typebox'
import { bareProperties, parametersWith } from '../parameters.js'
import { PresetSchema } from './preset.js'

const Status = Type.Union(
  [
    Type.Literal('ready'),
    Type.Literal('holding'),
    Type.Literal('starting'),
    Type.Literal('unavailable'),
    Type.Literal('draining')
  ],
  {
    description:
      '`ready`: requests are accepted and a worker is there. `holding`: requests are taken, and wait for a worker, because none is connected. `starting`: no worker has been ready yet. `unavailable`: none is at the moment. `draining`: the server shuts down.'
  }
)

const Requests = Type.Object({
  in_flight: Type.Integer({ description: 'Accepted and not ended.' }),
  queued: Type.Integer({ description: 'Of these, waiting for a worker.' }),
  held: Type.Integer({
    description:
      'Waiting, before they are accepted, for the first worker of all (HOLD_REQUESTS). They count towards the limit.'
  }),
  limit: Type.Integer()
})

/** What clients can request of a model; empty before its first worker is ready. */
const offered = {
  model: Type.Union([
    Type.Null(),
    Type.Object({
      id: Type.String(),
      digest: Type.String(),
      dtype: Type.String(),
      family: Type.Optional(Type.String({ description: "The model's architecture, such as sdxl, ssd-1b or lcm." })),
      refiner: Type.Optional(
        Type.String({ description: 'Its refiner; images with `denoising_end` need `refiner` among the features.' })
      )
    })
  ]),
  sizes: Type.Array(Type.Array(Type.Integer()), { description: 'Sizes as [width, height].' }),
  coming: Type.Array(Type.Array(Type.Integer()), {
    description: 'Sizes that are still compiling. Each moves to `sizes`, or disappears if it cannot be compiled.'
  }),
  schedulers: Type.Array(Type.String()),
  presets: Type.Array(PresetSchema, {
    description:
      'What requests may send as `preset`: values for few-step models that fit this one. Whether the model is one of them is known to whoever chose it.'
  }),
  features: Type.Array(Type.String(), {
    description:
      'Optional features that the workers support: `guidance_interval` allows guidance_start and guidance_end; `guidance_rescale` and `micro_conditioning` allow guidance_rescale, and original_size with its five relatives; `image_to_image` allows image, and `inpainting` mask_image; `cache_order` allows the field of that name; `controls` and `ip_adapters` allow the fields of these names; `prompt_weights` allows weights in prompts; `schedules` allows timestep_spacing, timesteps, sigmas and eta; `aesthetic_score` allows aesthetic_score and negative_aesthetic_score; with `pictures_only` a request needs image; with `guidance_embedding` the guidance scale is an input of the model, as in LCM.'
  }),
  coming_features: Type.Array(Type.String(), {
    description: 'Features whose programs are still compiling. Each moves to `features`, or disappears if it cannot.'
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
  max_chunks: Type.Union([Type.Null(), Type.Integer()], {
    description:
      'The most chunks of 75 tokens of a prompt in the syntaxes a1111 and compel. Grows while programs are compiled.'
  }),
  coming_max_chunks: Type.Union([Type.Null(), Type.Integer()], {
    description: 'What `max_chunks` will be when all programs are compiled. Prompts between the two get 503 until then.'
  }),
  max_controls: Type.Union([Type.Null(), Type.Integer()], {
    description: 'The most `controls` of a request; 0 if the workers can do none.'
  })
}

/** Body of GET /health. */
export const HealthResponse = Type.Object(
  {
    status: Status,
    problem: Type.Union([Type.Null(), Type.String()], {
      description:
        'Why the service is unavailable although workers are connected: names the option or the default that the model cannot do.'
    }),
    version: Type.String(),
    uptime_seconds: Type.Number(),
    ...offered,
    models: Type.Array(
      Type.Object({
        name: Type.Union([Type.Null(), Type.String({ description: 'What requests send as `model`.' })]),
        status: Status,
        problem: Type.Union([Type.Null(), Type.String()]),
        ...offered,
        requests: Requests,
        workers: Type.Object({
          ready: Type.Integer({ description: 'Connected workers with the current weights of the model.' })
        }),
        loaded: Type.Boolean({ description: 'False while another model has the device that both share.' }),
        swap_seconds: Type.Union([
          Type.Null(),
          Type.Number({ description: 'Seconds that loading it took the last time, if it shares a device.' })
        ])
      }),
      { description: 'All models. The first is the default, which the fields outside this list describe.' }
    ),
    pictures: Type.Object(
      {
        formats: Type.Array(Type.String()),
        max_bytes: Type.Integer({ description: 'Of one file.' }),
        max_pixels: Type.Integer({ description: 'Width times height.' })
      },
      {
        description:
          'What a picture that a request starts from may be. A model takes one if it has the feature `image_to_image`, and a mask with `inpainting`.'
      }
    ),
    requests: Requests,
    jobs: Type.Object(
      {
        store: Type.Union([Type.Literal('memory'), Type.Literal('valkey')]),
        available: Type.Boolean({
          description: 'Whether the job store answers. Without it jobs are refused with 503, and other requests served.'
        }),
        queued: Type.Integer(),
        running: Type.Integer(),
        ended: Type.Integer(),
        limit: Type.Integer({ description: 'Most jobs in the store, whatever their status (JOB_LIMIT).' }),
        batches: Type.Integer({ description: 'Batches of POST /v1/batches that have not ended.' })
      },
      { description: 'Durable jobs, at all gateways of the store; counted a few seconds ago.' }
    ),
    workers: Type.Object({
      expected: Type.Integer(),
      ready: Type.Integer(),
      list: Type.Array(
        Type.Object({
          name: Type.String(),
          model: Type.String(),
          outdated: Type.Boolean({
            description: 'Whether other workers of its model have newer weights. It then gets no new requests.'
          }),
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
