import type { EaselError } from '../errors.js'
import type { Made } from '../jobs/submission.js'
import type { GenerateRequest } from '../schemas/generate.js'

/** A piece of an answer in JSON: text as it is, the image at this place of its job in base64, or the URL of one. */
export type AnswerPiece = string | { readonly file: number } | { readonly url: number }

/** What a batch has to know of its endpoint. */
export interface Endpoint {
  readonly path: string
  /** Most bytes of a line. */
  readonly mostBytes: number
  /**
   * Checks a body.
   *
   * @throws EaselError
   */
  readonly check: (body: object) => void
  /**
   * What a body asks for.
   *
   * @returns `known` is false while no worker has said what its model offers: what is asked may then mean something else
   * @throws EaselError
   */
  readonly requestOf: (body: object) => { request: GenerateRequest; known: boolean }
  /** The field of a body that an error is about. */
  readonly paramOf: (error: EaselError) => string | null
  /** The body of the answer. @param endedAt ms since 1970 */
  readonly answer: (body: object, made: Made, endedAt: number) => AnswerPiece[]
  /** The body of an error. */
  readonly errorBody: (error: EaselError) => object
}
