import { Readable } from 'node:stream'
import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { CHUNK_BYTES, type Files, type FileUpload, type KeptFile, MAX_FILE_BYTES } from '../../batches/files.js'
import type { Batches } from '../../batches/batches.js'
import type { BatchResults } from '../../batches/results.js'
import { readBounded } from '../../bounded-body.js'
import { EaselError } from '../../errors.js'
import type { MemoryBudget } from '../../memory.js'
import { FORM_TYPE } from '../../plugins/picture-bodies.js'
import { growUpload } from '../../plugins/uploads.js'
import { commonHeaders } from '../../schemas/error.js'
import { valuesOf } from '../../schemas/form-values.js'
import { JOB_FAILURES, STORE_CODES } from '../../schemas/generate.js'
import {
  MOST_FILES,
  OpenAiDeletedFile,
  OpenAiFile,
  OpenAiFileForm,
  OpenAiFileList,
  OpenAiFileQuery,
  OpenAiIdParams
} from '../../schemas/openai-batch.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import { CLIENT_BYTES } from '../../service/run-memory.js'
import { readForm } from '../../uploads/form.js'
import { textWithin } from '../../uploads/limit.js'
import { holdFor, leftBy } from '../answers/hold.js'
import { scopeOf } from '../caller.js'
import { absoluteUrl, baseOf } from '../own-url.js'
import { openAiFailures } from './errors.js'
import { listOf, secondsOf } from './list.js'
import { ignoreBodies } from '../without-body.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The file of the form; null outside the routes of files. */
    received: Received | null
  }
}

interface Received {
  readonly upload: FileUpload
  filename: string
}

export interface FileParts {
  files: Files
  batches: Batches
  batchResults: BatchResults
  memory: MemoryBudget
  /** ms for which files are kept at most */
  keep: number
  /** What URLs of the gateway's own begin with; undefined for what the client called it. */
  publicUrl: string | undefined
}

export const JSONL_TYPE = 'application/jsonl'

/** Most bytes of a form's texts, its boundaries and heads. */
const TEXT_BYTES = 16 * 1024
const FRAMING_BYTES = 64 * 1024
/** Longer names of files are cut. */
const NAME_LENGTH = 256
/** A part that arrives, and the one that is on its way to the store. */
const UPLOAD_BYTES = 2 * CHUNK_BYTES

const FileParams = OpenAiIdParams('file')

const example: OpenAiFile = {
  id: 'file-5f3b0a1c9d8e7f6a5b4c3d2e',
  object: 'file',
  bytes: 1523,
  created_at: 1_769_850_000,
  expires_at: 1_769_936_400,
  filename: 'requests.jsonl',
  purpose: 'batch',
  status: 'processed'
}

/** /v1/files: the requests of batches, and what became of them. */
export const openAiFileRoutes: FastifyPluginAsyncTypebox<FileParts> = async (
  app,
  { files, batches, batchResults, memory, keep, publicUrl }
) => {
  app.get(
    '/files',
    {
      schema: {
        tags: ['openai'],
        operationId: 'listFiles',
        summary: 'List your files',
        querystring: OpenAiFileQuery,
        response: {
          200: success(ref(OpenAiFileList), 'The files.', listOf([example], false)),
          ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', ...STORE_CODES)
        }
      }
    },
    async (request) => {
      const { after, limit = MOST_FILES, order = 'desc', purpose } = request.query
      const page = { after, limit: Math.min(Number(limit), MOST_FILES), newestFirst: order === 'desc' }
      const { files: found, more } = await files.list(scopeOf(request), page, purpose)
      return listOf(found.map(shown), more)
    }
  )

  app.get(
    '/files/:id',
    {
      schema: {
        tags: ['openai'],
        operationId: 'retrieveFile',
        summary: 'Get what is known of a file',
        params: FileParams,
        response: {
          200: success(ref(OpenAiFile), 'The file.', example),
          ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
        }
      }
    },
    async (request) => shown(await files.get(scopeOf(request), request.params.id))
  )

  app.get(
    '/files/:id/content',
    {
      schema: {
        tags: ['openai'],
        operationId: 'downloadFile',
        summary: 'Get a file',
        params: FileParams,
        response: {
          200: {
            description: 'The lines.',
            headers: commonHeaders,
            content: { [JSONL_TYPE]: { schema: Type.Unsafe<Readable>({ type: 'string', format: 'binary' }) } }
          },
          ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', 'MEMORY_FULL', ...STORE_CODES)
        }
      }
    },
    async (request, reply) => {
      const scope = scopeOf(request)
      const { name, doc } = await files.get(scope, request.params.id)
      reply.type(JSONL_TYPE)
      if (doc.purpose === 'batch') {
        holdFor(memory, reply, CLIENT_BYTES + CHUNK_BYTES)
        return reply
          .header('content-length', doc.bytes)
          .send(Readable.from(files.read({ name, doc }), { objectMode: false, highWaterMark: 1 }))
      }
      const batch = await batches.get(scope, doc.batch)
      // One image at a time is in memory.
      holdFor(memory, reply, CLIENT_BYTES + batch.doc.largest)
      const base = baseOf(request, publicUrl)
      const reading = { left: leftBy(reply), absolute: (url: string) => absoluteUrl(url, base) }
      const content = batchResults.content(batch, doc.which, reading)
      return reply.send(Readable.from(content, { objectMode: false, highWaterMark: 1 }))
    }
  )

  await app.register(async (scope) => {
    ignoreBodies(scope)
    scope.delete(
      '/files/:id',
      {
        schema: {
          tags: ['openai'],
          operationId: 'deleteFile',
          summary: 'Delete a file',
          params: FileParams,
          response: {
            200: success(ref(OpenAiDeletedFile), 'It is gone.', { id: example.id, object: 'file', deleted: true }),
            ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
          }
        }
      },
      async (request) => {
        const { id } = request.params as { id: string }
        await batches.removeFile(scopeOf(request), id)
        return { id, object: 'file' as const, deleted: true as const }
      }
    )
  })

  await app.register(async (scope) => {
    scope.decorateRequest('received', null)
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(FORM_TYPE, (request: FastifyRequest, payload: IncomingMessage) =>
      formOf(files, request, payload)
    )
    scope.post(
      '/files',
      {
        onRequest: app.countRequest,
        bodyLimit: MAX_FILE_BYTES + FRAMING_BYTES,
        config: { growingBody: true },
        schema: {
          tags: ['openai'],
          operationId: 'createFile',
          summary: 'Send the requests of a batch',
          description: 'A form with a file of JSON Lines (docs/batches.md).',
          body: { content: { [FORM_TYPE]: { schema: ref(OpenAiFileForm) } } },
          response: {
            200: success(ref(OpenAiFile), 'The file.', example),
            ...openAiFailures(
              'INVALID_REQUEST',
              'LIMIT_EXCEEDED',
              'UNAUTHORIZED',
              'REQUEST_TIMEOUT',
              'BODY_TOO_LARGE',
              'UNSUPPORTED_MEDIA_TYPE',
              'RATE_LIMITED',
              'CANCELLED',
              'MEMORY_FULL',
              ...JOB_FAILURES
            )
          }
        },
        onResponse: async ({ received }, { statusCode }) => {
          if (statusCode !== 200) await received?.upload.drop()
        }
      },
      async (request) => {
        const { upload, filename } = request.received ?? {}
        if (upload === undefined)
          throw new EaselError('INVALID_REQUEST', 'the body is empty: send a form with purpose and file')
        const seconds = (request.body as OpenAiFileForm)['expires_after[seconds]'] ?? Infinity
        return shown(await upload.finish(filename!, Math.min(keep, seconds * 1000)))
      }
    )
  })
}

/** Reads the form of a file, which goes to the store as it arrives. */
async function formOf(files: Files, request: FastifyRequest, payload: IncomingMessage): Promise<object> {
  const received: Received = { upload: files.receive(scopeOf(request)), filename: 'file' }
  request.received = received
  const take = async (_field: string, chunks: AsyncIterable<Buffer>, filename?: string) => {
    growUpload(request, UPLOAD_BYTES)
    received.filename = (filename ?? received.filename).slice(0, NAME_LENGTH)
    await received.upload.take(chunks)
    return { sha256: received.upload.id }
  }
  try {
    const fields = await readBounded(payload, MAX_FILE_BYTES + FRAMING_BYTES, (body) =>
      readForm(body, request.headers['content-type']!, {
        pictures: { file: 'file' },
        onText: (bytes) => textWithin(TEXT_BYTES, bytes),
        uploads: { take }
      })
    )
    return valuesOf(fields, OpenAiFileForm.properties)
  } catch (error) {
    // A client that has left gets no response, after which the file would be dropped.
    await received.upload.drop()
    throw error
  }
}

function shown({ name, doc, createdAt, expiresAt }: KeptFile): OpenAiFile {
  return {
    id: name.id,
    object: 'file',
    bytes: doc.bytes,
    created_at: secondsOf(createdAt),
    expires_at: secondsOf(expiresAt),
    filename: doc.filename,
    purpose: doc.purpose,
    status: 'processed'
  }
}
