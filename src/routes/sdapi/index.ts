import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { answerErrors } from '../../plugins/errors.js'
import type { ImageService } from '../../service/service.js'
import { sdapiError } from './errors.js'
import { listRoutes } from './lists.js'
import { optionsRoutes } from './options.js'
import { pngInfoRoute } from './png-info.js'
import { taskRoutes } from './task-routes.js'
import { Tasks } from './tasks.js'
import { txt2imgRoute } from './txt2img.js'

interface SdapiParts {
  service: ImageService
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
}

/** The part of the API of AUTOMATIC1111's web UI that clients use to make images, under /sdapi/v1. */
export const sdapiRoutes: FastifyPluginAsyncTypebox<SdapiParts> = async (app, { service, withRecipe }) => {
  answerErrors(app, sdapiError)
  app.addHook('onRoute', (route) => {
    route.schema = { ...route.schema, security: [{}, { key: [] }, { password: [] }] }
  })
  const tasks = new Tasks()
  await app.register(txt2imgRoute, { service, tasks, withRecipe })
  await app.register(taskRoutes, { tasks })
  await app.register(optionsRoutes, { service })
  await app.register(listRoutes, { service })
  await app.register(pngInfoRoute)
}
