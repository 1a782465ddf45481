import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { boundedBody, unlessGone } from '../bounded-body.js'
import { EaselError } from '../errors.js'
import { parseSmallObject } from '../image/small-json.js'
import { FORMATS, mimeOf } from '../image/formats.js'
import { type Description, MAX_RECIPE_BYTES } from '../image/metadata.js'
import { recipeOfParameters } from '../image/parameters.js'
import { Recipe } from '../image/recipe.js'
import { failures } from '../schemas/error.js'
import { recipeExample } from '../schemas/examples.js'
import { RecipeResponse } from '../schemas/recipe.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'
import { BYTES_TYPE } from './answers/form.js'
import { readDescription } from './description.js'

/** Enough for a PNG of the largest size. The file is streamed, never held whole. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024

/** The file's signature decides its format, so clients may also send application/octet-stream. */
const TYPES = [BYTES_TYPE, ...FORMATS.map(mimeOf)]
const File = {
  schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary', description: 'The bytes of the file.' })
}

/** A parsed body. `instanceof` tells that the file parser ran. */
class Kept {
  readonly description: Description

  constructor(description: Description) {
    this.description = description
  }
}

/** POST /recipe: takes an image that Easel made and returns the request that reproduces it. */
export const recipeRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  // Drop the JSON parser: it would buffer a body of any size.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(TYPES, (_request: FastifyRequest, payload: IncomingMessage) => readFile(payload))

  app.post(
    '/recipe',
    {
      onRequest: app.countRequest,
      bodyLimit: MAX_FILE_BYTES,
      config: { keepsBytes: MAX_RECIPE_BYTES },
      // The schema describes the bytes sent; the parsed body is a `Kept`, which it would reject.
      validatorCompiler: () => () => true,
      schema: {
        tags: ['images'],
        operationId: 'readRecipe',
        summary: 'Read the recipe of an image',
        description:
          'Takes a PNG, JPEG or WebP file that Easel made and returns the body for POST /generate that reproduces it byte for byte. For a PNG with AUTOMATIC1111 parameters it returns the closest equivalent.',
        body: { content: Object.fromEntries(TYPES.map((type) => [type, File])) },
        response: {
          200: success(ref(RecipeResponse), 'The recipe, and the request.', recipeExample),
          ...failures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'NO_RECIPE',
            'RATE_LIMITED',
            'MEMORY_FULL'
          )
        }
      }
    },
    async (request) => {
      // A request without a body and content type skips the parser.
      if (!(request.body instanceof Kept))
        throw new EaselError('UNSUPPORTED_MEDIA_TYPE', `send an image file with content-type ${TYPES.join(', ')}`)
      const { easel, parameters, format } = request.body.description
      const recipe = easel === undefined ? recipeOfParameters(parameters ?? '', format) : parseSmallObject(easel)
      if (!Value.Check(Recipe, recipe)) throw new EaselError('NO_RECIPE')
      const { model, model_digest, version: release, scheduler, ...body } = recipe
      const own = service.offers.find((offer) => offer.model.id === model)
      const { model: ours, schedulers = [], neutral = {} } = own ?? service.offer ?? {}
      // Any other model than the default one must be named.
      const named = own === undefined || own.model.id === service.offer?.model.id ? {} : { model }
      // Fields absent from the recipe were neutral. State them where the operator's default is not neutral.
      const decided = { ...neutral, ...body }
      // Drop another program's sampler when we do not offer it, so that the default applies.
      const known = easel !== undefined || schedulers.includes(scheduler) ? { scheduler } : {}
      return {
        recipe,
        request: { ...decided, ...known, ...named },
        same_model: model === ours?.id && model_digest === ours.digest && release === service.version
      }
    }
  )
}

/** Reads the whole file but keeps only its recipe. */
async function readFile(payload: IncomingMessage): Promise<Kept> {
  return new Kept(await unlessGone(payload, () => readDescription(boundedBody(payload, MAX_FILE_BYTES))))
}
