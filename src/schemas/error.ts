import { Type } from 'typebox'

/** The body of every error answer. */
export const ErrorResponse = Type.Object(
  {
    statusCode: Type.Integer(),
    code: Type.String({ description: 'Stable and for programs; docs/errors.md lists them.' }),
    error: Type.String({ description: "The status code's name." }),
    message: Type.String({ description: 'For people. Its wording may change.' }),
    field: Type.Optional(Type.String({ description: "The request's field that is wrong." })),
    requestId: Type.String()
  },
  { $id: 'ErrorResponse' }
)
