import { Type, type Static } from 'typebox'
import { ChipSeconds } from './chip-seconds.js'
import { ref } from './ref.js'

const Seconds = (description: string) => Type.Union([Type.Number({ minimum: 0 }), Type.Null()], { description })

/** Body of an answer to POST /estimate. */
export const EstimateResponse = Type.Object(
  {
    chip_seconds: Type.Union([ref(ChipSeconds), Type.Null()], {
      description: 'What the request will probably use; null before the model has made its first image.'
    }),
    wait_seconds: Seconds('How long it would wait for others, now; null without a recent measurement.'),
    seconds: Seconds('When it would be done, from now; null without a recent measurement.')
  },
  { $id: 'EstimateResponse' }
)
export type EstimateResponse = Static<typeof EstimateResponse>
