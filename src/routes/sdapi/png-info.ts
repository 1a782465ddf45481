import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Value } from 'typebox/value'
import { boundedBody, unlessGone } from '../../bounded-body.js'
import { EaselError } from '../../errors.js'
import { type Description, MAX_RECIPE_BYTES } from '../../image/metadata.js'
import { parameterFields, parametersText } from '../../image/parameters.js'
import { Recipe } from '../../image/recipe.js'
import { parseSmallObject } from '../../image/small-json.js'
import { sdapiExamples } from '../../schemas/examples.js'
import { ref } from '../../schemas/ref.js'
import { SdapiPngInfoRequest, SdapiPngInfoResponse } from '../../schemas/sdapi.js'
import { success } from '../../schemas/success.js'
import { readJson } from '../../uploads/json.js'
import { textWithin } from '../../uploads/limit.js'
import { JSON_TYPE } from '../answers/form.js'
import { readDescription } from '../description.js'
import { MAX_FILE_BYTES } from '../recipe.js'
import { sdapiFailures } from './errors.js'

/** The file's field, as errors of the schema name it: `image` alone is a field of img2img under another name. */
const FIELD = 'body/image'

/** Most bytes of the body besides the file. */
const MAX_TEXT_BYTES = 4096
/** The file in base64, and the rest. */
const MAX_BODY_BYTES = Math.ceil(MAX_FILE_BYTES / 3) * 4 + MAX_TEXT_BYTES

/** A parsed body. `instanceof` tells that the parser ran. */
class Kept {
  readonly description: Description

  constructor(description: Description) {
    this.description = description
  }
}

/** POST /png-info: the parameters in an image's file. */
export const pngInfoRoute: FastifyPluginAsyncTypebox = async (app) => {
  // Replace the JSON parser: it would hold the whole file.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(JSON_TYPE, (_request: FastifyRequest, payload: IncomingMessage) => readBody(payload))

  app.post(
    '/png-info',
    {
      onRequest: app.countRequest,
      bodyLimit: MAX_BODY_BYTES,
      config: { keepsBytes: MAX_RECIPE_BYTES },
      // The schema describes the JSON sent; the parsed body is a `Kept`, which it would reject.
      validatorCompiler: () => () => true,
      schema: {
        tags: ['automatic1111'],
        operationId: 'pngInfo',
        summary: 'Read the parameters of an image',
        description: 'Of an image that Easel made in any format, and of a PNG of the web UI.',
        body: ref(SdapiPngInfoRequest),
        response: {
          200: success(ref(SdapiPngInfoResponse), 'The parameters; empty if the file has none.', sdapiExamples.pngInfo),
          ...sdapiFailures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'EXPECTATION_FAILED',
            'RATE_LIMITED',
            'MEMORY_FULL'
          )
        }
      }
    },
    async (request) => {
      // A request without a body and content type skips the parser.
      if (!((request.body as unknown) instanceof Kept))
        throw new EaselError('UNSUPPORTED_MEDIA_TYPE', `content-type must be ${JSON_TYPE}`, { field: 'content-type' })
      return infoOf((request.body as unknown as Kept).description)
    }
  )
}

function infoOf({ easel, parameters }: Description): SdapiPngInfoResponse {
  const recipe = easel === undefined ? undefined : parseSmallObject(easel)
  const info = Value.Check(Recipe, recipe) ? parametersText(recipe) : (parameters ?? '')
  return { info, items: easel === undefined ? {} : { easel }, parameters: parameterFields(info) }
}

/** Reads the file as it arrives and keeps only its texts. */
async function readBody(payload: IncomingMessage): Promise<Kept> {
  const found: Description[] = []
  const body = boundedBody(payload, MAX_BODY_BYTES)
  const take = async (_field: string, file: AsyncIterable<Buffer>) => {
    found.push(await readDescription(file))
    return { sha256: '' }
  }
  try {
    const text = await unlessGone(payload, () =>
      readJson(body, {
        paths: { image: FIELD },
        onText: (bytes) => textWithin(MAX_TEXT_BYTES, bytes),
        uploads: { take }
      })
    )
    const [description, ...others] = found
    if (description === undefined || others.length > 0 || !Value.Check(SdapiPngInfoRequest, jsonOf(text)))
      throw new EaselError('INVALID_REQUEST', 'the body must be {"image": "<a file in base64>"}', { field: FIELD })
    return new Kept(description)
  } finally {
    body.destroy()
  }
}

function jsonOf(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString())
  } catch (cause) {
    throw new EaselError('INVALID_REQUEST', 'the body is not JSON', { cause })
  }
}
