import type { IncomingMessage } from 'node:http'
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { TSchema } from 'typebox'
import { readBounded } from '../bounded-body.js'
import { valuesOf } from '../schemas/form-values.js'
import { withEntryPictures } from '../uploads/entries.js'
import { readForm } from '../uploads/form.js'
import { readJson } from '../uploads/json.js'
import type { PicturePaths } from '../uploads/json-scanner.js'
import type { PictureField } from '../uploads/picture-field.js'
import { limitWithPictures, textWithin } from '../uploads/limit.js'
import type { Uploads, UploadStore } from '../uploads/store.js'
import { mediaTypesOf, unsupportedType } from './media-types.js'
import { growUpload, settleUpload } from './uploads.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The options of a route that takes such bodies, in the scopes of `pictureBodiesPlugin`. It counts for its key. */
    pictureRoute: { onRequest: onRequestAsyncHookHandler; bodyLimit: number; config: FastifyContextConfig }
  }
  interface FastifyRequest {
    /** The pictures in the body, until the answer is sent; null outside the scopes of `pictureBodiesPlugin`. */
    uploads: Uploads | null
  }
}

export const JSON_TYPE = 'application/json'
export const FORM_TYPE = 'multipart/form-data'

export interface PictureBodies {
  store: UploadStore
  /** Most bytes of a body without its pictures. */
  bodyLimit: number
  /** Where JSON has pictures. */
  json: PicturePaths
  /** The fields of pictures by the names of a form's parts. */
  form: Readonly<Record<string, PictureField>>
  /** The schema of each field, by which a form's texts are read. */
  properties: Readonly<Record<string, TSchema>>
}

/**
 * Reads the bodies of the scope that may have pictures, JSON and forms. The pictures go to the disk as they arrive; the
 * parsed body has their SHA-256 in their place. In memory a body takes `bodyLimit` at most. The scope's routes take
 * `pictureRoute`.
 */
export const pictureBodiesPlugin = fp<PictureBodies>(
  async (app, { store, bodyLimit, json, form, properties }) => {
    const limit = limitWithPictures(bodyLimit, store.maxFileBytes)
    const onText = (request: FastifyRequest) => (bytes: number) => {
      textWithin(bodyLimit, bytes)
      growUpload(request, bytes)
    }
    app.decorateRequest('uploads', null)
    app.decorate('pictureRoute', { onRequest: app.countRequest, bodyLimit: limit, config: { growingBody: true } })
    app.addHook('preParsing', async (request, reply, payload) => {
      const uploads = store.open()
      request.uploads = uploads
      if (reply.raw.destroyed) uploads.close()
      else reply.raw.once('close', () => uploads.close())
      return payload
    })

    // Fastify checks a body by the schema of its content type, and not at all if the route has none for it.
    app.addHook('preValidation', async ({ body, mediaType, routeOptions }) => {
      if (body === undefined) return
      const types = mediaTypesOf(routeOptions)
      if (mediaType === undefined || !types.includes(mediaType)) throw unsupportedType(types)
    })
    app.removeContentTypeParser(JSON_TYPE)
    app.addContentTypeParser(JSON_TYPE, async (request: FastifyRequest, payload: IncomingMessage) => {
      const text = await readBounded(payload, limit, (body) =>
        readJson(body, { paths: json, onText: onText(request), uploads: request.uploads! })
      )
      settleUpload(request, text.length)
      return app.parseJson(request, text)
    })
    app.addContentTypeParser(FORM_TYPE, async (request: FastifyRequest, payload: IncomingMessage) => {
      const fields = await readBounded(payload, limit, (body) =>
        readForm(body, request.headers['content-type']!, {
          pictures: form,
          onText: onText(request),
          uploads: request.uploads!
        })
      )
      settleUpload(
        request,
        [...fields.values()].reduce((sum, text) => sum + text.length, 0)
      )
      return withEntryPictures(valuesOf(fields, properties), request.uploads!)
    })
  },
  { name: 'picture-bodies' }
)
