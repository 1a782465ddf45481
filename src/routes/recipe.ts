import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { boundedBody } from '../bounded-body.js'
import { EaselError } from '../errors.js'
import { ByteReader } from '../image/byte-reader.js'
import { parseFlatObject } from '../image/flat-json.js'
import { FORMATS, mimeOf } from '../image/formats.js'
import { type Description, descriptionIn, MAX_RECIPE_BYTES, NotAnImage } from '../image/metadata.js'
import { recipeOfParameters } from '../image/parameters.js'
import { Recipe } from '../image/recipe.js'
import { failures } from '../schemas/error.js'
import { recipeExample } from '../schemas/examples.js'
import { RecipeResponse } from '../schemas/recipe.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'
import { BYTES_TYPE } from './answers/form.js'

/** Room for a PNG of the largest size. It is read as it comes, and not kept. */
export const MAX_FILE_BYTES = 64 * 1024 * 1024

/** A file's own bytes say what it is; clients that do not know may send it as bytes. */
const TYPES = [BYTES_TYPE, ...FORMATS.map(mimeOf)]
const File = {
  schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary', description: 'The bytes of the file.' })
}

/** What is kept of a file. */
class Kept {
  readonly description: Description

  constructor(description: Description) {
    this.description = description
  }
}

/** POST /recipe: an image that Easel made in, the request that makes it again out. */
export const recipeRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  // Without the parser of JSON, which would read a file of any size at once.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(TYPES, (_request: FastifyRequest, payload: IncomingMessage) => readFile(payload))

  app.post(
    '/recipe',
    {
      onRequest: app.countRequest,
      bodyLimit: MAX_FILE_BYTES,
      config: { keepsBytes: MAX_RECIPE_BYTES },
      // The schema describes the bytes that are sent; what is kept of them is no string.
      validatorCompiler: () => () => true,
      schema: {
        tags: ['images'],
        operationId: 'readRecipe',
        summary: 'Read the recipe of an image',
        description:
          'Takes a PNG, JPEG or WebP file that Easel made, and gives the body for POST /generate that makes the same bytes again. Of a PNG with the parameters of AUTOMATIC1111, it gives a body that is as near as can be.',
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
      // JSON has a parser too, and no body at all comes without a type.
      if (!(request.body instanceof Kept))
        throw new EaselError('UNSUPPORTED_MEDIA_TYPE', `the body must be one of ${TYPES.join(', ')}`)
      const { easel, parameters, format } = request.body.description
      const recipe = easel === undefined ? recipeOfParameters(parameters ?? '', format) : parseFlatObject(easel)
      if (!Value.Check(Recipe, recipe)) throw new EaselError('NO_RECIPE')
      const { model, model_digest, version: release, scheduler, ...body } = recipe
      const { model: ours, schedulers = [], neutral = {} } = service.offer ?? {}
      // What the recipe does not name was neutral; where the operator's default is not, the request must say so.
      const decided = { ...neutral, ...body }
      // Of another program's samplers those that we do not have are left to the default.
      const known = easel !== undefined || schedulers.includes(scheduler) ? { scheduler } : {}
      return {
        recipe,
        request: { ...decided, ...known },
        same_model: model === ours?.id && model_digest === ours.digest && release === service.version
      }
    }
  )
}

/** Reads a file to its end and keeps its recipe alone. */
async function readFile(payload: IncomingMessage): Promise<Kept> {
  const file = new ByteReader(boundedBody(payload, MAX_FILE_BYTES))
  try {
    const description = await descriptionIn(file)
    // A client that is answered before it has sent all may take that for a broken connection.
    await file.drain()
    return new Kept(description)
  } catch (error) {
    if (error instanceof NotAnImage) throw new EaselError('INVALID_REQUEST', error.message)
    const left = payload.destroyed && !payload.complete
    throw left && !(error instanceof EaselError)
      ? new EaselError('CANCELLED', 'the client left while it sent the file', { cause: error })
      : error
  } finally {
    await file.end()
  }
}
