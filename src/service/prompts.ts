import type { TokenIds } from '../engine/protocol.js'
import { EaselError } from '../errors.js'
import type { SdxlEncoded, SdxlTokenizers } from '../tokenizer/index.js'

/** What is shown of the text on either side of a cut, in UTF-16 units. */
const SHOWN_BEFORE = 30
const SHOWN_AFTER = 60

export interface TokenizedPrompts {
  readonly prompt: TokenIds
  /** null where there is none: for the model that is not the same as the empty text. */
  readonly negative: TokenIds | null
  /** Names of the prompts that were cut to fit. */
  readonly truncated: readonly string[]
  /** Tokens of both texts as they were given, with their start and end marks. */
  readonly tokens: number
}

/**
 * Turns both prompts into token ids.
 *
 * @param truncate whether a prompt that is too long is cut, or refused
 * @throws EaselError PROMPT_TOO_LONG with the field and the place of the cut
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

/** How long a text is, and where it would be cut. */
export function describeCut({ length, kept, cut }: Cut): string {
  const tail = JSON.stringify(kept.slice(-SHOWN_BEFORE))
  const head = JSON.stringify(cut.slice(0, SHOWN_AFTER))
  return `has ${length} tokens, with its start and end marks; the model takes 77. It would be cut after ${tail}, before ${head}`
}
