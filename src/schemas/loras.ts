import { Type, type Static } from 'typebox'

/** A LoRA that requests may name. */
export const LoraInfo = Type.Object(
  {
    name: Type.String({ description: 'What `loras` of POST /generate and a tag <lora:name:1> call it.' }),
    digest: Type.String({ description: 'SHA-256 of its file.' }),
    kind: Type.String({ description: '`lora`, `locon`, `loha`, `lokr` or `dora`.' }),
    rank: Type.Optional(Type.Integer({ description: 'The largest rank of its updates.' })),
    parts: Type.Optional(
      Type.Array(Type.String(), { description: 'What it changes: `unet`, `text_encoder`, `text_encoder_2`.' })
    ),
    trigger_words: Type.Optional(
      Type.Array(Type.String(), { description: 'Words that its metadata says belong into the prompt.' })
    ),
    base_model: Type.Optional(Type.String({ description: 'The model that its metadata says it was trained on.' })),
    preset: Type.Optional(
      Type.String({
        description:
          'The preset that fits it, of those that the model offers: it makes images in few steps. A request names the preset itself.'
      })
    )
  },
  { $id: 'LoraInfo' }
)
export type LoraInfo = Static<typeof LoraInfo>
