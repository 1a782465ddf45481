import type { TSchema } from 'typebox'
import { commonHeaders } from './error.js'

/** The `response` schema of an answer in JSON, with what the OpenAPI document says of it. */
export function success<T extends TSchema>(schema: T, description: string, example: object) {
  return { description, headers: commonHeaders, content: { 'application/json': { schema, example } } }
}
