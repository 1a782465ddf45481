import type { TokenIds } from '../workers/protocol.js'
import { EaselError } from '../errors.js'
import type { SdxlEncoded, SdxlTokenizers } from '../tokenizer/index.js'

/** How much of the prompt an error shows before and after the cut, in UTF-16 units. */
const SHOWN_BEFORE = 30
const SHOWN_AFTER = 60

export interface TokenizedPrompts {
  readonly prompt: TokenIds
  /** null for no negative prompt. The model treats an encoded empty text differently. */
  readonly negative: TokenIds | null
  /** Names of the prompts that were truncated. */
  readonly truncated: readonly string[]
  /** Tokens of both prompts before truncation, including start and end tokens. */
  readonly tokens: number
}

/**
 * Tokenizes both prompts.
 *
 * @param truncate whether to truncate a prompt that is too long instead of refusing it
 * @throws EaselError PROMPT_TOO_LONG with the field and where it would be cut
 */
export function tokenizePrompts(
  { prompt, negative_prompt }: { readonly prompt: string; readonly negative_prompt: string },
  tokenizers: SdxlTokenizers,
  truncate: boolean
): TokenizedPrompts {
  const truncated: string[] = []
  let tokens = 0
  const encode = (text: string, field: string): TokenIds => {
    const encoded = tokenizers.encode(text)
    tokens += encoded.length
    if (encoded.truncated) {
      if (!truncate) throw promptTooLong(field, encoded)
      truncated.push(field)
    }
    return { ids: encoded.ids, ids_2: encoded.ids_2 }
  }
  const ids = encode(prompt, 'prompt')
  const negative = negative_prompt === '' ? null : encode(negative_prompt, 'negative_prompt')
  return { prompt: ids, negative, truncated, tokens }
}

function promptTooLong(field: string, encoded: Cut): EaselError {
  return new EaselError('PROMPT_TOO_LONG', `${field} ${describeCut(encoded)}. Shorten it, or send "truncate": true`, {
    field
  })
}

type Cut = Pick<SdxlEncoded, 'length' | 'kept' | 'cut'>

/** Says how long a prompt is and where it would be cut. The web page parses this text (view/words.ts). */
export function describeCut({ length, kept, cut }: Cut): string {
  const tail = JSON.stringify(kept.slice(-SHOWN_BEFORE))
  const head = JSON.stringify(cut.slice(0, SHOWN_AFTER))
  return `has ${length} tokens, including start and end tokens; the model takes 77. It would be cut after ${tail}, before ${head}`
}
