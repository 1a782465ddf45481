import { EaselError } from '../errors.js'
import { MAX_PICTURES } from './picture-field.js'

/** Base64 of three bytes has four letters, and may have line breaks. */
const BASE64 = 1.4

/** For the boundaries and heads of a form's parts, or the punctuation of JSON. */
const FRAMING_BYTES = 64 * 1024

/**
 * Most bytes of a body with pictures.
 *
 * @param bodyLimit most bytes of a body without them
 * @param pictureLimit most bytes of one picture's file
 */
export function limitWithPictures(bodyLimit: number, pictureLimit: number): number {
  return bodyLimit + Math.ceil(MAX_PICTURES * pictureLimit * BASE64) + FRAMING_BYTES
}

/** Refuses a body whose text is longer. @throws EaselError BODY_TOO_LARGE */
export function textWithin(limit: number, bytes: number): void {
  if (bytes > limit)
    throw new EaselError('BODY_TOO_LARGE', `The body, without its pictures, must be at most ${limit} bytes`)
}
