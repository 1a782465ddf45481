import type { ErrorCode } from '../../../errors.js'
import { NetworkError, ServerError } from '../api/errors.js'
import type { ErrorBody } from '../api/types.js'
import { sentence } from '../lib/text.js'

/** An error as shown to the visitor. */
export interface Description {
  title: string
  text: string
  /** Seconds to wait before a retry. */
  wait: number
  /** The request's id, shown only if an operator may need to find it in the log. */
  id?: string | undefined
}

type Words = readonly [title: string, text: string]

/**
 * What each error means to a visitor. The server's own messages are for programs and operators: they name fields,
 * settings, keys and exceptions.
 */
const WORDS: Readonly<Partial<Record<ErrorCode, Words>>> = {
  QUEUE_FULL: ['The server is busy', 'Its queue is full.'],
  RATE_LIMITED: ['Too many requests', 'Your key has reached its rate limit.'],
  CONCURRENCY_LIMITED: ['Too many requests at once', 'Your key has reached its limit of simultaneous requests.'],
  MEMORY_FULL: ['The server is busy', 'It has no memory for another image at the moment.'],
  CANCELLED: ['The request was cancelled', 'The server, an operator or a proxy ended it.'],
  NOT_READY: ['The model is not ready', 'No model can make this image at the moment.'],
  DRAINING: ['The server is restarting', 'Another server will take over.'],
  DEADLINE_UNREACHABLE: [
    'This would take too long',
    'The server cannot finish within its time limit. Use fewer steps, a smaller size or fewer images.'
  ],
  DEADLINE_EXCEEDED: [
    'This took too long',
    'The server stopped at its time limit. Use fewer steps, a smaller size or fewer images.'
  ],
  GENERATION_FAILED: ['The image could not be made', 'The model failed on this request.'],
  OUT_OF_MEMORY: ['Out of memory', 'The server ran out of memory. Use a smaller size or fewer images.'],
  WORKER_CRASHED: ['The image could not be made', 'The model crashed twice on this request.'],
  INTERNAL: ['The image could not be made', 'An internal error occurred on the server.'],
  BODY_TOO_LARGE: ['The request is too large', 'The server does not accept this much data.'],
  REQUEST_TIMEOUT: ['Sending took too long', 'The connection to the server is slow or broken.'],
  STORAGE_FULL: ['The server is busy', 'Its disk has no room for another picture at the moment.'],
  NO_RECIPE: ['This image contains no settings', 'It was not made by Easel, or another program removed its metadata.']
}

const WORDS_OF_STATUS: Readonly<Record<number, Words>> = {
  413: WORDS.BODY_TOO_LARGE!,
  429: ['Too many requests', 'The server accepts no more requests at the moment.'],
  502: ['Cannot reach the server', 'A proxy got no answer from it.'],
  503: ['The server is not ready', 'It accepts no requests at the moment.'],
  504: WORDS.DEADLINE_EXCEEDED!
}

/** Errors after which the same request may succeed later. */
const PASSING = new Set<string>([
  'QUEUE_FULL',
  'RATE_LIMITED',
  'CONCURRENCY_LIMITED',
  'MEMORY_FULL',
  'NOT_READY',
  'DRAINING'
] satisfies ErrorCode[])

/** Whether to retry the same request before any other. */
export function passes(error: unknown): boolean {
  if (error instanceof NetworkError) return true
  return (
    error instanceof ServerError &&
    (PASSING.has(error.body.code) ||
      error.body.statusCode === 429 ||
      error.body.statusCode === 502 ||
      (error.body.statusCode === 503 && error.body.code === 'UNKNOWN'))
  )
}

export function describe(error: unknown): Description {
  if (error instanceof NetworkError)
    return {
      title: 'Cannot reach the server',
      text: 'Check your connection, or try again in a moment.',
      wait: 0
    }
  if (!(error instanceof ServerError))
    return { title: 'Something went wrong in this page', text: sentence(String(error)), wait: 0 }
  const { code, statusCode, message, retry_after, requestId } = error.body
  // Quote the server's message only for errors in the request, which the visitor must fix.
  const words =
    (WORDS as Record<string, Words | undefined>)[code] ??
    WORDS_OF_STATUS[statusCode] ??
    (statusCode < 500 ? (['The server rejected the request', sentence(message)] as const) : WORDS.INTERNAL!)
  return { title: words[0], text: words[1], wait: retry_after ?? 0, id: statusCode >= 500 ? requestId : undefined }
}

/** What is wrong with a field, without its API name, which the visitor does not see. */
export function describeField({ code, field, message }: Pick<ErrorBody, 'code' | 'field' | 'message'>): string {
  switch (code) {
    case 'PROMPT_TOO_LONG':
      return describeLength(message)
    case 'INVALID_PICTURE':
      return sentence(message.replace(/^\S+/, field === 'mask_image' ? 'The mask' : 'This picture'))
    case 'BODY_TOO_LARGE':
      return 'This picture is too large for the server.'
    case 'LIMIT_EXCEEDED': {
      if (field === 'image' || field?.endsWith('.image')) return 'This picture is too large for the server.'
      const [, most] = /at most (\d[\d.]*\d|\d)/.exec(message) ?? []
      return most === undefined
        ? 'This exceeds the limit of this server.'
        : `This server allows at most ${most}${field === 'num_images' && message.includes('memory') ? ' at this size' : ''}.`
    }
    case 'MODEL_NOT_FOUND':
      return 'This server does not offer this model.'
    case 'UNSUPPORTED_SIZE':
      return 'This server does not offer this size.'
    case 'UNSUPPORTED_SCHEDULER':
      return 'This server does not offer this sampler.'
    case 'UNSUPPORTED_LORA':
    case 'UNSUPPORTED_EMBEDDING':
    case 'UNSUPPORTED_CONTROL':
      return sentence(message.replace(/^[\w[\].]+: /, ''))
    case 'UNSUPPORTED_PRESET':
      return 'The model does not have this preset.'
    case 'UNSUPPORTED_FEATURE':
      return 'This server does not support this option. Leave the field empty.'
    case 'NOT_READY':
      return field === undefined || field === 'width' || field === 'height' || field === 'hires'
        ? 'This size is still being prepared. Choose another one or try again later.'
        : 'This is still being prepared. Try again later.'
    default:
      // E.g. "body/num_images must be <= 64". Rare: the page validates before the server does.
      return sentence(message.replace(/^body\/?\S*\s+|^(?<name>\w+) (?=must)/, ''))
  }
}

/** Extracts the prompt's length and the cut from the server's message. Another version may word it differently. */
function describeLength(message: string): string {
  const [, tokens] = /has (\d+) tokens/.exec(message) ?? []
  const [, most] = /takes (\d+)/.exec(message) ?? []
  // The counts below the prompts are without these two.
  const marks = message.includes('including start and end tokens') ? 2 : 0
  const [, kept] = /cut after ("(?:[^"\\]|\\.)*")/.exec(message) ?? []
  const length =
    tokens === undefined || most === undefined
      ? 'This prompt is too long for the model'
      : `This prompt has ${Number(tokens) - marks} tokens; the model reads ${Number(most) - marks}`
  return kept === undefined ? `${length}.` : `${length}, up to “…${(JSON.parse(kept) as string).trim()}”.`
}
