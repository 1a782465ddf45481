import { Type, type Static } from 'typebox'

const Amount = Type.Number({ minimum: 0 })

/** Chip-seconds of a request. */
export const ChipSeconds = Type.Object(
  { total: Amount, encode: Amount, denoise: Amount, preview: Amount, decode: Amount },
  {
    $id: 'ChipSeconds',
    description:
      'Seconds that the chips worked for the request, times the number of chips: in total, and for the prompts and pictures, the denoising steps, the previews and the decoding.'
  }
)
export type ChipSeconds = Static<typeof ChipSeconds>
