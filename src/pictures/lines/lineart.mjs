// @ts-check

/** Of the blur, in pixels. */
const SIGMA = 6
/** Half the blur's width, an even number: OpenCV cuts a Gaussian of 32-bit numbers off at 4 sigmas. */
const REACH = 4 * SIGMA
/** Differences up to this are no lines. */
const FAINT = 8
/** The least that the typical line counts as, so that noise does not become lines. */
const LEAST = 16
const TYPICAL = 127

/**
 * The dark lines of a picture, white on black, as `lineart_standard` of AUTOMATIC1111's ControlNet extension draws them:
 * how much darker a pixel is than the picture blurred, in the channel where that is least, in units of the typical line.
 *
 * Takes 32 bytes a pixel besides its input and its output.
 *
 * @param {{ width: number, height: number, data: Uint8Array }} picture RGB
 * @returns {Uint8Array} width · height bytes
 * @see https://github.com/Mikubill/sd-webui-controlnet/blob/e6789102ace10cd22fad5af1e9dd79fe677eab37/scripts/preprocessor/legacy/processor.py
 */
export function lineart({ width, height, data }) {
  const blurred = blur(width, height, data)
  const darker = new Float32Array(width * height)
  for (let i = 0; i < darker.length; i++) {
    let least = 255
    for (let c = 3 * i; c < 3 * i + 3; c++)
      least = Math.min(least, /** @type {number} */ (blurred[c]) - /** @type {number} */ (data[c]))
    darker[i] = Math.max(0, least)
  }
  const unit = Math.max(LEAST, median(darker.filter((value) => value > FAINT)))
  return Uint8Array.from(darker, (value) => Math.min(255, Math.fround(Math.fround(value / unit) * TYPICAL)))
}

/**
 * The median; 0 of nothing.
 *
 * @param {Float32Array} values
 */
function median(values) {
  const sorted = values.sort()
  const middle = Math.floor(sorted.length / 2)
  if (sorted.length === 0) return 0
  const upper = Number(sorted[middle])
  return sorted.length % 2 === 1 ? upper : Math.fround((Number(sorted[middle - 1]) + upper) / 2)
}

/**
 * A Gaussian blur. The picture is mirrored at its edges, as OpenCV's BORDER_REFLECT_101 does.
 *
 * @param {number} width
 * @param {number} height
 * @param {Uint8Array} data RGB
 */
function blur(width, height, data) {
  const stride = 3 * width
  const columns = mirrored(width)
  const across = new Float32Array(stride * height)
  const row = new Float32Array(3 * columns.length)
  const places = Int32Array.from({ length: 2 * REACH + 1 }, (_, tap) => 3 * tap)
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < row.length; i++) {
      const column = /** @type {number} */ (columns[Math.floor(i / 3)])
      row[i] = /** @type {number} */ (data[y * stride + 3 * column + (i % 3)])
    }
    across.set(weighted(row, places, stride), y * stride)
  }
  const rows = mirrored(height)
  const both = new Float32Array(stride * height)
  for (let y = 0; y < height; y++)
    both.set(
      weighted(
        across,
        rows.subarray(y, y + 2 * REACH + 1).map((at) => at * stride),
        stride
      ),
      y * stride
    )
  return both
}

/**
 * The sums of lines by their weights.
 *
 * @param {Float32Array} source has the lines
 * @param {Int32Array} places where they begin, 2 · REACH + 1 of them
 * @param {number} length of a line
 */
function weighted(source, places, length) {
  const sums = new Float64Array(length)
  const value = (/** @type {number} */ at) => /** @type {number} */ (source[at])
  const place = (/** @type {number} */ tap) => /** @type {number} */ (places[tap])
  const centre = place(REACH)
  for (let i = 0; i < length; i++) sums[i] = /** @type {number} */ (WEIGHTS[0]) * value(centre + i)
  // Two distances at a time, each on both sides: twice as fast as one line at a time.
  for (let far = 2; far <= REACH; far += 2) {
    const nearWeight = /** @type {number} */ (WEIGHTS[far - 1])
    const farWeight = /** @type {number} */ (WEIGHTS[far])
    const [before, after] = [place(REACH - far + 1), place(REACH + far - 1)]
    const [farBefore, farAfter] = [place(REACH - far), place(REACH + far)]
    for (let i = 0; i < length; i++)
      sums[i] =
        /** @type {number} */ (sums[i]) +
        nearWeight * (value(before + i) + value(after + i)) +
        farWeight * (value(farBefore + i) + value(farAfter + i))
  }
  return sums
}

/** Weights of the blur by the distance in pixels, up to REACH. */
const WEIGHTS = weights()

function weights() {
  const raw = Float64Array.from({ length: REACH + 1 }, (_, distance) => Math.exp(-(distance ** 2) / (2 * SIGMA ** 2)))
  const total = raw.reduce((sum, weight, distance) => sum + (distance === 0 ? weight : 2 * weight), 0)
  return Float32Array.from(raw, (weight) => weight / total)
}

/**
 * Which pixel of a line is at each place from REACH before it to REACH after it.
 *
 * @param {number} size
 */
function mirrored(size) {
  const period = Math.max(1, 2 * size - 2)
  return Int32Array.from({ length: size + 2 * REACH }, (_, i) => {
    const at = (((i - REACH) % period) + period) % period
    return at < size ? at : period - at
  })
}
