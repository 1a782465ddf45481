import type { TSchema } from 'typebox'
import { commonHeaders } from './error.js'

/** The `response` schema of a JSON answer, with its description and example for the OpenAPI document. */
export function success<T extends TSchema>(schema: T, description: string, example: object) {
  return { description, headers: commonHeaders, content: { 'application/json': { schema, example } } }
}
