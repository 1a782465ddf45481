// @ts-check

/** @typedef {Awaited<typeof import('@techstark/opencv-js')>} OpenCV */
/** @typedef {{ width: number, height: number, data: Uint8Array }} Rgb */

/** Of the blur, in pixels. */
const SIGMA = 6
/** Differences up to this are no lines. */
const FAINT = 8
/** The least that the typical line counts as, so that noise does not become lines. */
const LEAST = 16
const TYPICAL = 127

/**
 * The edges of a picture: `cv2.Canny(picture, low, high)`.
 *
 * @param {OpenCV} cv
 * @param {Rgb} picture
 * @param {number} one a threshold: the lower one of the two keeps edges that touch one above the higher one
 * @param {number} other the other threshold
 * @returns {Uint8Array} width · height bytes: 255 for an edge, else 0
 */
export function canny(cv, picture, one, other) {
  const [image, edges] = [matOf(cv, picture), new cv.Mat()]
  cv.Canny(image, edges, one, other)
  const made = edges.data.slice()
  for (const mat of [image, edges]) mat.delete()
  return made
}

/**
 * The dark lines of a picture, white on black, as `lineart_standard` of AUTOMATIC1111's ControlNet extension draws them:
 * how much darker a pixel is than the picture blurred, in the channel where that is least, in units of the typical line.
 *
 * @param {OpenCV} cv
 * @param {Rgb} picture
 * @returns {Uint8Array} width · height bytes
 * @see https://github.com/Mikubill/sd-webui-controlnet/blob/e6789102ace10cd22fad5af1e9dd79fe677eab37/scripts/preprocessor/legacy/processor.py
 */
export function lineart(cv, picture) {
  const [values, darker, channels] = [new cv.Mat(), new cv.Mat(), new cv.MatVector()]
  const image = matOf(cv, picture)
  image.convertTo(values, cv.CV_32FC3)
  image.delete()
  cv.GaussianBlur(values, darker, new cv.Size(0, 0), SIGMA)
  cv.subtract(darker, values, darker)
  values.delete()
  cv.split(darker, channels)
  darker.delete()
  const [least, ...others] = [0, 1, 2].map((channel) => channels.get(channel))
  if (least === undefined) throw new Error('the picture has no channels')
  for (const other of others) cv.min(least, other, least)
  const unit = Math.max(LEAST, medianOfLines(least.data32F))
  const lines = new Uint8Array(least.data32F.length)
  // Arrays' own methods would make a list of all numbers first.
  for (let i = 0; i < lines.length; i++) {
    const value = Math.fround(Math.fround(Number(least.data32F[i]) / unit) * TYPICAL)
    lines[i] = Math.min(255, Math.max(0, value))
  }
  for (const mat of [least, ...others, channels]) mat.delete()
  return lines
}

/**
 * @param {OpenCV} cv
 * @param {Rgb} picture
 */
function matOf(cv, { width, height, data }) {
  const mat = new cv.Mat(height, width, cv.CV_8UC3)
  mat.data.set(data)
  return mat
}

/**
 * The median of the values above FAINT; 0 without any.
 *
 * @param {Float32Array} values
 */
function medianOfLines(values) {
  const lines = new Float32Array(values.length)
  let count = 0
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i])
    if (value > FAINT) lines[count++] = value
  }
  if (count === 0) return 0
  const sorted = lines.subarray(0, count).sort()
  const middle = Math.floor(count / 2)
  const upper = Number(sorted[middle])
  return count % 2 === 1 ? upper : Math.fround((Number(sorted[middle - 1]) + upper) / 2)
}
