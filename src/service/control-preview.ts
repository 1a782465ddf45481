import { EaselError } from '../errors.js'
import { type Parameter, parameters } from '../parameters.js'
import type { Pixels } from '../pictures/pixels.js'
import type { PictureFile, PictureReader } from '../pictures/reader.js'
import type { ControlPreviewRequest } from '../schemas/control-preview.js'
import type { Admission } from './admission.js'
import { preprocessorOf, unusedThreshold } from './controls.js'
import { unsupported } from './failures.js'
import type { Models } from './models.js'
import { checkSize } from './sizes.js'

export interface PreviewParts {
  readonly models: Models
  readonly admission: Admission
  readonly pictures: PictureReader
  /** ms that a request may take at most */
  readonly requestTimeout: number
}

/**
 * What a net gets of a control picture: RGB of the image's size. Only offered sizes are made, so a client cannot choose
 * how much memory and time it takes.
 *
 * @param left fires when the client has left
 * @throws EaselError when the request or its picture is refused; nothing is held then
 */
export async function previewOfControl(
  { models, admission, pictures, requestTimeout }: PreviewParts,
  request: ControlPreviewRequest,
  file: PictureFile,
  left: AbortSignal
): Promise<Pixels> {
  const model = models.find(request.model)
  admission.refuseUnlessReady(model)
  const capabilities = model.served.capabilities!
  const { unable, feature }: Parameter = parameters.controls
  if (!capabilities.features.includes(feature!))
    throw unsupported({ name: 'controls', feature }, capabilities, `cannot be previewed: ${unable}`)
  const threshold = unusedThreshold(request)
  if (threshold !== undefined)
    throw new EaselError('INVALID_REQUEST', `${threshold} is for the preprocessor canny: leave it out`, {
      field: threshold
    })
  const { width, height } = { ...model.offer!.defaults, ...request }
  checkSize({ width, height }, capabilities)
  const hold = admission.holdInputs({ width, height }, 3 * width * height)
  const late = new AbortController()
  const expiry = setTimeout(() => late.abort(new EaselError('DEADLINE_EXCEEDED')), requestTimeout)
  try {
    const [made] = await pictures.control(file, {
      sizes: [{ width, height }],
      mode: request.resize_mode ?? 'default',
      preprocessor: preprocessorOf(request),
      signal: AbortSignal.any([left, late.signal])
    })
    return made!
  } finally {
    clearTimeout(expiry)
    hold.release()
  }
}
