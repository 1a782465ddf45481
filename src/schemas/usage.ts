import { Type, type Static } from 'typebox'

const Amount = Type.Number({ minimum: 0 })

/** Body of GET /usage. */
export const UsageResponse = Type.Object(
  {
    since: Type.String({ description: 'When the server started, in ISO 8601.' }),
    models: Type.Array(
      Type.Object({
        model: Type.String(),
        busy_chip_seconds: Type.Number({
          minimum: 0,
          description:
            'How long its workers were busy, times their chips: the sum of the lines and of what is in flight.'
        }),
        in_flight_chip_seconds: Type.Number({
          minimum: 0,
          description: 'For images that have not ended, so that nobody is charged yet.'
        }),
        lines: Type.Array(
          Type.Object({
            key: Type.Union([Type.String(), Type.Null()], {
              description: 'The name of an access key; null where none are required, and for `padding` and `lost`.'
            }),
            kind: Type.String({
              description:
                '`encode`, `denoise`, `preview`, `decode`; `padding`: rows that only filled programs; `lost`: work that failed on the server, or was lost with a worker.'
            }),
            chip_seconds: Amount
          })
        )
      })
    )
  },
  { $id: 'UsageResponse' }
)
export type UsageResponse = Static<typeof UsageResponse>
