import type { FastifyRequest } from 'fastify'
import type { Caller } from '../service/caller.js'
import type { Places } from '../jobs/places.js'
import type { ImageService } from '../service/service.js'
import { scopeOf } from './caller.js'
import { whileHere } from './pictures.js'

/** What is known of a request for images before it is known what can be requested. */
export interface Asked {
  /** Undefined for the default model. */
  readonly model: string | undefined
  readonly images: number
  /** What the client allows, in seconds, in the body and in `x-request-timeout`. */
  readonly timeouts: readonly (number | string | undefined)[]
}

/**
 * Waits until the model of a request has had a worker, if the server holds requests. Call it before anything that
 * depends on what is offered.
 *
 * @returns gives a caller only the time that is left
 * @throws EaselError when the request is refused, or its time is over
 */
export async function held(
  { service, places }: { readonly service: ImageService; readonly places: Places },
  request: FastifyRequest,
  { model, images, timeouts }: Asked
): Promise<(caller: Caller) => Caller> {
  if (!service.holds(model)) return (caller) => caller
  const seconds = Math.min(...timeouts.map((timeout) => (timeout === undefined ? Infinity : Number(timeout))))
  const start = performance.now()
  const waiting = { scope: scopeOf(request), concurrency: request.access?.concurrentRequests, images }
  const waited = await places.during(model, waiting, () =>
    whileHere(request, (left) => service.hold(model, waiting, seconds * 1000, left))
  )
  if (!waited) return (caller) => caller
  const ms = performance.now() - start
  return (caller) => ({ ...caller, timeout: Math.max(1, service.timeoutOf(seconds * 1000) - ms) })
}
