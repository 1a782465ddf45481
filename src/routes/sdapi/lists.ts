import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type TSchema, Type } from 'typebox'
import { sdapiExamples } from '../../schemas/examples.js'
import { ref } from '../../schemas/ref.js'
import {
  SdapiEmbeddings,
  SdapiLatentMode,
  SdapiLora,
  SdapiModel,
  SdapiSampler,
  SdapiScheduler,
  SdapiUpscaler
} from '../../schemas/sdapi.js'
import { success } from '../../schemas/success.js'
import { shortDigest } from '../../image/parameters.js'
import { LATENT_UPSCALERS, UPSCALER_NAMES } from '../../upscalers.js'
import type { Offer } from '../../service/offer.js'
import type { ImageService } from '../../service/service.js'
import { sdapiFailures } from './errors.js'
import { listSamplers, listSchedules } from './samplers.js'

/** Lists of things that Easel has none of, which clients ask for. */
const EMPTY = {
  '/sd-vae': { operationId: 'listVaes', summary: 'No VAEs to choose: the VAE belongs to the model' }
} as const

/** The filter that enlarges images for a second pass, as the web UI lists its upscalers. */
const FILTER = { name: UPSCALER_NAMES.bicubic, model_name: null, model_path: null, model_url: null, scale: null }

/**
 * What the web UI says of SDXL's embeddings: 768 numbers for the first text encoder and 1280 for the second. All models
 * of SDXL's family have these encoders; the web UI knows no others, such as those of the demo model.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/textual_inversion/textual_inversion.py
 */
const SDXL_EMBEDDING = { step: null, sd_checkpoint: null, sd_checkpoint_name: null, shape: 2048 }

/** A digest that is a SHA-256. */
const SHA256 = /^[0-9a-f]{64}$/

const tags = ['automatic1111']
const failures = sdapiFailures('UNAUTHORIZED')

const listing = <T extends TSchema>(items: T, description: string, example: object) => ({
  200: success(Type.Array(items), description, [example]),
  ...failures
})

/** What a client can choose from. Samplers and schedules are those of the default model. */
export const listRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.get(
    '/samplers',
    {
      schema: {
        tags,
        operationId: 'listSamplers',
        summary: 'List the samplers',
        response: listing(ref(SdapiSampler), 'Those of the default model.', sdapiExamples.sampler)
      }
    },
    async () => listSamplers(service.offer?.schedulers ?? [])
  )

  app.get(
    '/schedulers',
    {
      schema: {
        tags,
        operationId: 'listSchedulers',
        summary: 'List the noise schedules',
        response: listing(
          ref(SdapiScheduler),
          "Those that the default model's samplers can have.",
          sdapiExamples.scheduler
        )
      }
    },
    async () => {
      const { schedulers = [], features = [] } = service.offer ?? {}
      return listSchedules(schedulers, features.includes('schedules'))
    }
  )

  app.get(
    '/sd-models',
    {
      schema: {
        tags,
        operationId: 'listSdModels',
        summary: 'List the models',
        response: listing(
          ref(SdapiModel),
          'Each model of which a worker has been ready, the default one first.',
          sdapiExamples.model
        )
      }
    },
    async () => service.offers.map(modelOf)
  )

  app.get(
    '/loras',
    {
      schema: {
        tags,
        operationId: 'listSdapiLoras',
        summary: 'List the LoRAs',
        response: listing(ref(SdapiLora), 'Those of the default model, by name.', sdapiExamples.lora)
      }
    },
    async () => service.lorasOf(undefined).map(({ name, ...metadata }) => ({ name, alias: name, path: name, metadata }))
  )

  app.get(
    '/embeddings',
    {
      schema: {
        tags,
        operationId: 'listSdapiEmbeddings',
        summary: 'List the embeddings',
        response: {
          200: success(ref(SdapiEmbeddings), 'Those of the default model, by name.', sdapiExamples.embeddings),
          ...failures
        }
      }
    },
    async () => {
      const loaded = service
        .embeddingsOf(undefined)
        .map(({ name, vectors }) => [name, { ...SDXL_EMBEDDING, vectors }] as const)
      return { loaded: Object.fromEntries(loaded), skipped: {} }
    }
  )

  app.get(
    '/upscalers',
    {
      schema: {
        tags,
        operationId: 'listUpscalers',
        summary: 'List the upscalers',
        response: listing(
          ref(SdapiUpscaler),
          'The filter that enlarges images for a second pass, if the default model makes one.',
          sdapiExamples.upscaler
        )
      }
    },
    async () => (service.offer?.features.includes('image_to_image') === true ? [FILTER] : [])
  )

  app.get(
    '/latent-upscale-modes',
    {
      schema: {
        tags,
        operationId: 'listLatentUpscaleModes',
        summary: 'List the upscalers of latents',
        response: listing(
          ref(SdapiLatentMode),
          'Those for a second pass of the default model.',
          sdapiExamples.latentMode
        )
      }
    },
    async () =>
      service.offer?.features.includes('latents') === true
        ? LATENT_UPSCALERS.map((upscaler) => ({ name: UPSCALER_NAMES[upscaler] }))
        : []
  )

  for (const [path, texts] of Object.entries(EMPTY))
    app.get(
      path,
      {
        schema: {
          tags,
          ...texts,
          response: { 200: success(Type.Array(Type.Object({}), { maxItems: 0 }), 'An empty list.', []), ...failures }
        }
      },
      async () => []
    )
}

function modelOf({ model: { id, digest } }: Offer) {
  return {
    title: id,
    model_name: id,
    hash: shortDigest(digest),
    sha256: SHA256.test(digest) ? digest : null,
    filename: id,
    config: null
  }
}
