import { Type, type TSchema } from 'typebox'
import { catalogue, EaselError, errorBody, type ErrorCode } from '../errors.js'
import { ref } from './ref.js'

/** The body of every error answer. */
export const ErrorResponse = Type.Object(
  {
    statusCode: Type.Integer(),
    code: Type.String({ description: 'Stable, for programs. docs/errors.md lists all codes.' }),
    error: Type.String({ description: "The status code's name." }),
    message: Type.String({ description: 'For people. The wording may change.' }),
    field: Type.Optional(Type.String({ description: 'The request field that is wrong.' })),
    requestId: Type.String()
  },
  { $id: 'ErrorResponse' }
)

/** Statuses whose answers carry Retry-After. */
const RETRYABLE: ReadonlySet<number> = new Set([429, 503])

const RequestId = Type.String({ description: "The request's id: the client's, or a new one." })

/** Headers of every answer. */
export const commonHeaders = { 'x-request-id': RequestId }

/** A form of error answers: its schema, and a function that builds the body. */
export interface ErrorForm<T extends TSchema> {
  schema: T
  body: (error: EaselError, requestId: string) => object
}

/**
 * The `response` schemas of a route's errors by status, with an example for each code. Adds INTERNAL, which any route
 * can answer, and METHOD_NOT_ALLOWED, which belongs to the path but has no other place in OpenAPI.
 */
export function failures(...codes: readonly ErrorCode[]) {
  return failuresAs({ schema: ref(ErrorResponse), body: errorBody }, codes)
}

/** `failures` in another error form. */
export function failuresAs<T extends TSchema>(form: ErrorForm<T>, codes: readonly ErrorCode[]) {
  const byStatus: Record<number, ErrorCode[]> = {}
  for (const code of [...codes, 'METHOD_NOT_ALLOWED', 'INTERNAL'] as const)
    (byStatus[catalogue[code].status] ??= []).push(code)
  const entries = Object.entries(byStatus).map(
    ([status, codes]) => [status, failure(Number(status), codes, form)] as const
  )
  return Object.fromEntries(entries) as Record<ClientOrServerError, ReturnType<typeof failure<T>>>
}

type ClientOrServerError = '4xx' | '5xx'

function headersOf(status: number) {
  if (RETRYABLE.has(status)) return { 'retry-after': Type.Integer({ description: 'Seconds to wait before a retry.' }) }
  return status === catalogue.METHOD_NOT_ALLOWED.status
    ? { allow: Type.String({ description: 'The methods that the path supports.' }) }
    : {}
}

function failure<T extends TSchema>(status: number, codes: readonly ErrorCode[], { schema, body }: ErrorForm<T>) {
  const examples = codes.map(
    (code) => [code, { value: body(new EaselError(code), 'c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e') }] as const
  )
  return {
    description: codes.map((code) => `\`${code}\`: ${catalogue[code].summary}`).join(' '),
    headers: { ...commonHeaders, ...headersOf(status) },
    content: { 'application/json': { schema, examples: Object.fromEntries(examples) } }
  }
}
