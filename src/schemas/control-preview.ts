import { Type, type Static } from 'typebox'
import { parameters } from '../parameters.js'
import { file } from './file.js'

const { preprocessor, low_threshold, high_threshold, resize_mode } = parameters.controls.schema.items.properties

const values = {
  preprocessor,
  low_threshold,
  high_threshold,
  resize_mode,
  width: Type.Optional(parameters.width.schema),
  height: Type.Optional(parameters.height.schema),
  model: Type.Optional(parameters.model.schema)
}

/** Body of POST /controls/preview: a picture, what is made of it, and the size of the image that follows it. */
export const ControlPreviewRequest = Type.Object(
  {
    image: Type.Optional(Type.String({ description: 'The picture: a PNG, JPEG or WebP file, as in POST /generate.' })),
    ...values
  },
  { $id: 'ControlPreviewRequest', additionalProperties: false }
)
export type ControlPreviewRequest = Static<typeof ControlPreviewRequest>

/** The same as a form. */
export const ControlPreviewForm = Type.Object(
  { image: file('The picture: a PNG, JPEG or WebP file.'), ...values },
  { $id: 'ControlPreviewForm', additionalProperties: false }
)
