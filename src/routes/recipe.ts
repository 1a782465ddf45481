import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Engine } from '../engine/engine.js'
import { EaselError } from '../errors.js'
import { FORMATS, mimeOf } from '../image/formats.js'
import { readRecipe } from '../image/read-recipe.js'
import { Recipe } from '../schemas/answer.js'
import { failures } from '../schemas/error.js'
import { recipeExample } from '../schemas/examples.js'
import { RecipeResponse } from '../schemas/recipe.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { Defaults } from '../service/resolve.js'
import { NOTHING_SAVED, statedSavings } from '../service/savings.js'

/** Room for a PNG of the largest size. */
const MAX_FILE_BYTES = 64 * 1024 * 1024

const File = { schema: Type.Unsafe<Buffer>({ description: 'The bytes of the file.' }) }

/** POST /recipe: an image that Easel made in, the request that makes it again out. */
export const recipeRoute: FastifyPluginAsyncTypebox<{ engine: Engine; defaults: Defaults; version: string }> = async (app, { engine, defaults, version }) => {
  app.addContentTypeParser(FORMATS.map(mimeOf), { parseAs: 'buffer', bodyLimit: MAX_FILE_BYTES }, (_request, body, done) => done(null, body))

  app.post(
    '/recipe',
    {
      bodyLimit: MAX_FILE_BYTES,
      schema: {
        tags: ['images'],
        summary: 'Read the recipe of an image',
        description: 'Takes a PNG, JPEG or WebP file that Easel made, and gives the body for POST /generate that makes the same bytes again.',
        body: { content: Object.fromEntries(FORMATS.map((format) => [mimeOf(format), File])) },
        response: {
          200: success(ref(RecipeResponse), 'The recipe, and the request.', recipeExample),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'NO_RECIPE')
        }
      }
    },
    async (request) => {
      if (!Buffer.isBuffer(request.body)) throw new EaselError('UNSUPPORTED_MEDIA_TYPE', `the body must be one of ${FORMATS.map(mimeOf).join(', ')}`)
      const recipe = await readRecipe(request.body).catch(notAnImage)
      if (!Value.Check(Recipe, recipe)) throw new EaselError('NO_RECIPE')
      const { model, model_digest, version: release, ...body } = recipe
      const { model: ours } = engine.capabilities ?? {}
      // What the recipe does not name was not saved; where the operator would have it saved, the request must say so.
      return { recipe, request: { ...statedSavings(NOTHING_SAVED, defaults), ...body }, same_model: model === ours?.id && model_digest === ours.digest && release === version }
    }
  )
}

function notAnImage(cause: unknown): never {
  throw new EaselError('INVALID_REQUEST', 'the body is not an image that can be read', { cause })
}
