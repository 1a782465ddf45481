import { Type, type Static } from 'typebox'
import { MAX_PROMPT_LENGTH, parameters } from '../parameters.js'
import { ref } from './ref.js'

const text = (field: string) =>
  Type.Optional(Type.String({ maxLength: MAX_PROMPT_LENGTH, description: `As \`${field}\` in POST /generate.` }))

/** Body of POST /tokenize. */
export const TokenizeRequest = Type.Object(
  {
    prompt: text('prompt'),
    prompt_2: text('prompt_2'),
    negative_prompt: text('negative_prompt'),
    negative_prompt_2: text('negative_prompt_2'),
    prompt_syntax: Type.Optional(parameters.prompt_syntax.schema),
    model: Type.Optional(parameters.model.schema)
  },
  {
    $id: 'TokenizeRequest',
    additionalProperties: false,
    examples: [{ prompt: 'a (red:1.3) circle', prompt_syntax: 'a1111' }]
  }
)
export type TokenizeRequest = Static<typeof TokenizeRequest>

export const TokenCount = Type.Object(
  {
    tokens: Type.Integer({
      description: 'Without start, end and padding; for the text encoder that takes more of them.'
    }),
    chunks: Type.Integer({ description: 'The number of chunks of 75 tokens that the text takes.' }),
    max_tokens: Type.Integer({ description: 'The most tokens that this server reads now in this syntax.' }),
    coming_max_tokens: Type.Optional(
      Type.Integer({
        description: 'The most tokens that it will read once the programs for them are compiled; absent if no more.'
      })
    ),
    chunk_starts: Type.Array(Type.Integer(), {
      description: 'Where each chunk with tokens begins, as an offset in UTF-16 units.'
    }),
    embeddings: Type.Optional(
      Type.Array(Type.String(), {
        description: 'The embeddings that the text names, each of whose vectors counts as a token; absent for none.'
      })
    ),
    cut_at: Type.Union([Type.Integer(), Type.Null()], {
      description: 'Where `truncate` would cut the text, as an offset in UTF-16 units; null if all of it is read.'
    })
  },
  { $id: 'TokenCount' }
)
export type TokenCount = Static<typeof TokenCount>

const count = Type.Optional(ref(TokenCount))

/** Body of the answer to POST /tokenize: a count for each prompt that was sent. */
export const TokenizeResponse = Type.Object(
  {
    prompt: count,
    prompt_2: count,
    negative_prompt: count,
    negative_prompt_2: count,
    warnings: Type.Array(Type.String(), {
      description: 'What in the prompts is probably not meant as it is read, e.g. a weight in a plain prompt.'
    })
  },
  { $id: 'TokenizeResponse' }
)
export type TokenizeResponse = Static<typeof TokenizeResponse>
