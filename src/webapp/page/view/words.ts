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
  QUEUE_FULL: ['Every easel is taken', 'As many people wait as the server lets in.'],
  RATE_LIMITED: ['That was a lot at once', 'Your key has asked as often as it may for now.'],
  CONCURRENCY_LIMITED: ['Your easels are all taken', 'Your key has as many pictures under way as it may.'],
  MEMORY_FULL: ['Every easel is taken', 'The server has no room for another picture at the moment.'],
  CANCELLED: ['It was cancelled', 'Somebody, or something between here and the server, ended it.'],
  NOT_READY: ['The painter is not ready yet', 'No model is ready for this at the moment.'],
  DRAINING: ['The server is being restarted', 'Another one takes its place.'],
  DEADLINE_UNREACHABLE: [
    'That would take too long',
    'The server cannot do it within the time that a picture has. Fewer steps, or a smaller or single picture, take less.'
  ],
  DEADLINE_EXCEEDED: [
    'That took too long',
    'The server stops what is not done within its time. Fewer steps, or a smaller or single picture, take less.'
  ],
  GENERATION_FAILED: ['That did not work', 'The model could not make this picture.'],
  OUT_OF_MEMORY: ['That is too large', 'The server ran out of memory for it. A smaller or single picture takes less.'],
  WORKER_CRASHED: ['That did not work', 'The painter broke down over this picture, twice.'],
  INTERNAL: ['That did not work', 'Something went wrong inside the server.'],
  BODY_TOO_LARGE: ['That is too large', 'The server takes no more at once.'],
  REQUEST_TIMEOUT: ['That took too long to send', 'The line to the server is slow, or broke.'],
  NO_RECIPE: ['This picture carries no recipe', 'It was made elsewhere, or has lost what was written in it on the way.']
}

const WORDS_OF_STATUS: Readonly<Record<number, Words>> = {
  413: WORDS.BODY_TOO_LARGE!,
  429: ['Too much at once', 'The server lets no more in for now.'],
  502: ['The server cannot be reached', 'Something between here and the server has no answer from it.'],
  503: ['The server is not ready', 'It lets nobody in at the moment.'],
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
      title: 'The server cannot be reached',
      text: 'Look at your connection, or try again in a moment.',
      wait: 0
    }
  if (!(error instanceof ServerError))
    return { title: 'Something went wrong in this page', text: sentence(String(error)), wait: 0 }
  const { code, statusCode, message, retry_after, requestId } = error.body
  // Quote the server's message only for errors in the request, which the visitor must fix.
  const words =
    (WORDS as Record<string, Words | undefined>)[code] ??
    WORDS_OF_STATUS[statusCode] ??
    (statusCode < 500 ? (['The server cannot paint that', sentence(message)] as const) : WORDS.INTERNAL!)
  return { title: words[0], text: words[1], wait: retry_after ?? 0, id: statusCode >= 500 ? requestId : undefined }
}

/** What is wrong with a field, without its API name, which the visitor does not see. */
export function describeField({ code, field, message }: Pick<ErrorBody, 'code' | 'field' | 'message'>): string {
  switch (code) {
    case 'PROMPT_TOO_LONG':
      return describeLength(message)
    case 'LIMIT_EXCEEDED': {
      const [, most] = /at most (\d[\d.]*\d|\d)/.exec(message) ?? []
      return most === undefined
        ? 'That is more than this server allows.'
        : `This server allows ${most} at most${field === 'num_images' && message.includes('memory') ? ' at this size' : ''}.`
    }
    case 'UNSUPPORTED_SIZE':
      return 'This server does not offer this size.'
    case 'UNSUPPORTED_SCHEDULER':
      return 'This server does not offer this scheduler.'
    case 'UNSUPPORTED_FEATURE':
      return 'This server cannot do this: leave it empty.'
    case 'NOT_READY':
      return 'This size is still being prepared. It is offered once it is ready.'
    default:
      // E.g. "body/num_images must be <= 64". Rare: the page validates before the server does.
      return sentence(message.replace(/^body\/?\S*\s+|^(?<name>\w+) (?=must)/, ''))
  }
}

/** Extracts the prompt's length and the cut from the server's message. Another version may word it differently. */
function describeLength(message: string): string {
  const [, tokens] = /has (\d+) tokens/.exec(message) ?? []
  const [, most] = /takes (\d+)/.exec(message) ?? []
  const [, kept] = /cut after ("(?:[^"\\]|\\.)*")/.exec(message) ?? []
  const length =
    tokens === undefined || most === undefined
      ? 'This is longer than the model reads'
      : `This has ${tokens} tokens, and the model reads ${most}`
  return kept === undefined ? `${length}.` : `${length}: up to “…${(JSON.parse(kept) as string).trim()}”.`
}
