import { Type, type Static } from 'typebox'

/** An embedding that prompts may name. */
export const EmbeddingInfo = Type.Object(
  {
    name: Type.String({ description: 'What prompts call it. The part after the last / is enough if only one has it.' }),
    digest: Type.String({ description: 'SHA-256 of its file.' }),
    vectors: Type.Integer({ description: 'How many tokens of a prompt it takes.' })
  },
  { $id: 'EmbeddingInfo' }
)
export type EmbeddingInfo = Static<typeof EmbeddingInfo>
