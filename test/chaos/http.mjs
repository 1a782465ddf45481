// @ts-check
import http from 'node:http'
import sharp from 'sharp'

/** An attempt's outcome: the answer, or 'left' if the client disconnected first. */
/** @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: Buffer }} Answer */

/** A request hangs if it waits while nobody has had an answer for this long, in ms. A busy machine is only slow. */
const HANG_MS = 60_000

/** A violation that no client may see. */
export class Broken extends Error {}

/**
 * A request's body as bytes, and its type.
 *
 * @param {import('./random-requests.mjs').Plan} plan
 * @returns {Promise<{ type: string, bytes: Buffer }>}
 */
export async function bodyOf({ body, pictures, form }) {
  const { width, height } = body
  const fileOf = (/** @type {Buffer} */ pixels, /** @type {1 | 3} */ channels = 3) =>
    sharp(pixels, { raw: { width, height, channels } }).png().toBuffer()
  const image = pictures.image && (await fileOf(pictures.image))
  const mask = pictures.mask_image && (await fileOf(pictures.mask_image, 1))
  const controls = await Promise.all(pictures.controls.map((pixels) => fileOf(pixels)))
  const adapters = await Promise.all(pictures.ip_adapters.map((pixels) => fileOf(pixels)))
  if (!form) {
    const withImages = (/** @type {object[]} */ entries, /** @type {Buffer[]} */ files) =>
      entries.map((entry, index) => ({ ...entry, image: files[index]?.toString('base64') }))
    const whole = {
      ...body,
      image: image?.toString('base64'),
      mask_image: mask?.toString('base64'),
      ...(body.controls === undefined ? {} : { controls: withImages(body.controls, controls) }),
      ...(body.ip_adapters === undefined ? {} : { ip_adapters: withImages(body.ip_adapters, adapters) })
    }
    return { type: 'application/json', bytes: Buffer.from(JSON.stringify(whole)) }
  }
  const parts = new FormData()
  for (const [field, value] of Object.entries(body))
    parts.append(field, typeof value === 'object' ? JSON.stringify(value) : String(value))
  const files = { image: image ?? [], mask_image: mask ?? [], control_image: controls, ip_adapter_image: adapters }
  for (const [field, list] of Object.entries(files))
    for (const file of [list].flat()) parts.append(field, new Blob([new Uint8Array(file)]), `${field}.png`)
  const made = new Response(parts)
  return { type: made.headers.get('content-type') ?? '', bytes: Buffer.from(await made.arrayBuffer()) }
}
/** When any client last had an answer other than a request to come again. All clients of a run share one. */
export class Progress {
  #last = performance.now()

  note() {
    this.#last = performance.now()
  }

  /** Whether nobody has had an answer for the time that counts as a hang. */
  get hangs() {
    return performance.now() - this.#last > HANG_MS
  }
}

/**
 * Sends POST /generate over one of the agent's connections.
 *
 * @param {string} url
 * @param {{ type: string, bytes: Buffer }} body
 * @param {{ agent: http.Agent, progress: Progress, key?: string | undefined, leaveAfter?: number | undefined }} options leaveAfter: ms after which the client disconnects
 * @returns {Promise<Answer | 'left'>}
 * @throws Broken if no complete answer arrives
 */
export function post(url, body, { agent, progress, key, leaveAfter }) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': body.type, ...(key === undefined ? {} : { 'idempotency-key': key }) }
    const request = http.request(`${url}/generate`, { method: 'POST', agent, headers })
    let left = false
    const hang = setInterval(() => {
      if (progress.hangs) request.destroy(new Broken(`no answer while nobody had one for ${HANG_MS / 1000} s`))
    }, 1000)
    const leave =
      leaveAfter === undefined
        ? undefined
        : setTimeout(() => {
            left = true
            request.destroy()
          }, leaveAfter)
    request.on('response', (response) => {
      /** @type {Buffer[]} */
      const chunks = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
      )
    })
    request.on('error', (error) => {
      if (!left) reject(error instanceof Broken ? error : new Broken(`the connection failed: ${error.message}`))
    })
    request.on('close', () => {
      clearInterval(hang)
      clearTimeout(leave)
      if (left) resolve('left')
      else reject(new Broken('the connection closed before the answer was complete'))
    })
    request.end(body.bytes)
  })
}
