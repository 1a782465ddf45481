import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { answerErrors } from '../../plugins/errors.js'
import { sdapiError } from './errors.js'
import { imageRoutes, type ImagesParts } from './images.js'
import { listRoutes } from './lists.js'
import { optionsRoutes } from './options.js'
import { pngInfoRoute } from './png-info.js'
import { taskRoutes } from './task-routes.js'
import { Tasks } from './tasks.js'

/** The part of the API of AUTOMATIC1111's web UI that clients use to make images, under /sdapi/v1. */
export const sdapiRoutes: FastifyPluginAsyncTypebox<Omit<ImagesParts, 'tasks'>> = async (
  app,
  { service, places, uploads, bodyLimit, withRecipe }
) => {
  answerErrors(app, sdapiError)
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, security: [{}, { key: [] }, { password: [] }] }
  })
  const tasks = new Tasks()
  await app.register(imageRoutes, { service, places, tasks, uploads, bodyLimit, withRecipe })
  await app.register(taskRoutes, { tasks })
  await app.register(optionsRoutes, { service })
  await app.register(listRoutes, { service })
  await app.register(pngInfoRoute)
}
