import { EaselError } from '../errors.js'
import { ByteReader } from '../image/byte-reader.js'
import { type Description, descriptionIn, NotAnImage } from '../image/metadata.js'

/**
 * Reads how the image in a file was made. Reads the whole file but keeps only that.
 *
 * @throws EaselError INVALID_REQUEST for a file in no format of ours
 */
export async function readDescription(chunks: AsyncIterable<Buffer>): Promise<Description> {
  const file = new ByteReader(chunks)
  try {
    const description = await descriptionIn(file)
    // Some clients report a broken connection when the answer comes before they have sent the whole body.
    await file.drain()
    return description
  } catch (error) {
    throw error instanceof NotAnImage ? new EaselError('INVALID_REQUEST', error.message) : error
  } finally {
    await file.end()
  }
}
