import { Type } from 'typebox'
import type { EaselError, ErrorCode } from '../../errors.js'
import { type ErrorForm, failuresAs } from '../../schemas/error.js'
import { OpenAiError } from '../../schemas/openai.js'
import { ref } from '../../schemas/ref.js'
import { inNames } from '../names.js'

/** OpenAI's names for our fields. */
const PARAMS: Readonly<Record<string, string>> = { width: 'size', height: 'size', num_images: 'n', mask_image: 'mask' }

/** OpenAI's codes that its clients look for. */
const CODES: Readonly<Partial<Record<ErrorCode, string>>> = { MODEL_NOT_FOUND: 'model_not_found' }

/** An error in OpenAI's form, with OpenAI's field names. */
export function openAiError({ code, field, message, statusCode }: EaselError): OpenAiError {
  const named = inNames(PARAMS, { field, message })
  return {
    error: {
      message: named.message,
      type: typeOf(statusCode),
      param: named.field ?? null,
      code: CODES[code] ?? code
    }
  }
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

const openAiErrorForm: ErrorForm<ReturnType<typeof Type.Unsafe<OpenAiError>>> = {
  schema: ref(OpenAiError),
  body: openAiError
}

/** The `response` schemas of a route's errors. */
export function openAiFailures(...codes: readonly ErrorCode[]) {
  return failuresAs(openAiErrorForm, codes)
}
