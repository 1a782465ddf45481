import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { FORMATS, mimeOf } from '../image/formats.js'
import type { FolderStore } from '../results/folder.js'
import type { Signer } from '../results/signature.js'
import { CACHE_CONTROL } from '../results/store.js'
import { commonHeaders, failures } from '../schemas/error.js'

/** Stored images that the gateway itself serves. */
export interface StoredFiles {
  store: FolderStore
  signer: Signer
}

/** Most files that are being read at a time. Each takes a descriptor. */
export const MAX_READS = 64

/** `Retry-After` when more would be read. */
const RETRY_SECONDS = 2

/** Where they are served. */
export const STORED_PATH = '/results/'

const Content = {
  schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary', description: 'The bytes of the file.' })
}

/** GET /results/... reads a stored image. Its URL is its only credential. */
export const storedFileRoute: FastifyPluginAsyncTypebox<{ files: StoredFiles | undefined }> = async (
  app,
  { files }
) => {
  let reads = 0
  app.get(
    `${STORED_PATH}:key/:request/:file`,
    {
      schema: {
        tags: ['openai'],
        operationId: 'getStoredImage',
        summary: 'Read a stored image',
        description:
          'Takes the URLs that POST /v1/images/generations and its siblings answer, where the server stores images in a folder. They need no access key.',
        // An operation without the document's security: the URL is the credential.
        security: [],
        params: Type.Object({
          key: Type.String({ description: 'The name of the access key, or `~`.' }),
          request: Type.String({ description: 'A name of the request.' }),
          file: Type.String({ pattern: `^[0-9]{1,4}\\.(${FORMATS.join('|')})$`, description: "The image's number." })
        }),
        querystring: Type.Object({
          expires: Type.String({ pattern: '^[0-9]{1,12}$', description: 'When the URL ends, in seconds since 1970.' }),
          signature: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'HMAC of the URL.' })
        }),
        response: {
          200: {
            description: 'The image.',
            headers: commonHeaders,
            content: Object.fromEntries(FORMATS.map((format) => [mimeOf(format), Content]))
          },
          ...failures('INVALID_REQUEST', 'URL_INVALID', 'NOT_FOUND', 'MEMORY_FULL')
        }
      }
    },
    async (request, reply) => {
      if (files === undefined)
        throw new EaselError('NOT_FOUND', 'this server stores no images in a folder (its option RESULTS)')
      const { store, signer } = files
      const { key, request: id, file } = request.params
      const expires = Number(request.query.expires)
      const { signature } = request.query
      const name = `${key}/${id}/${file}`
      if (!signer.verify(name, { expires, signature }))
        throw new EaselError('URL_INVALID', 'the signature of this URL is not one of this server')
      if (Date.now() >= expires * 1000)
        throw new EaselError('URL_INVALID', 'this URL has expired; repeat the request that answered it')
      if (reads >= MAX_READS)
        throw new EaselError('MEMORY_FULL', `${MAX_READS} stored images are being read, the most at a time; retry`, {
          retryAfter: RETRY_SECONDS
        })
      reads += 1
      reply.raw.once('close', () => {
        reads -= 1
      })
      const found = await store.read(name)
      if (found === undefined) throw new EaselError('NOT_FOUND', 'the server no longer has this image')
      const format = FORMATS.find((format) => file.endsWith(`.${format}`))!
      return reply
        .type(mimeOf(format))
        .headers({
          'content-length': found.bytes,
          'cache-control': CACHE_CONTROL,
          'content-disposition': 'inline',
          'x-content-type-options': 'nosniff'
        })
        .send(found.handle.createReadStream())
    }
  )
}
