import { Type, type Static } from 'typebox'
import { parameters } from '../parameters.js'
import { maybe } from './maybe.js'
import { type Unpainted, unpaintedProperties } from './sdapi-fields.js'

/** The most units of a request: as many as the web UI shows. Those that are off count too. */
export const MAX_UNITS = 4

const text = { type: ['string', 'null'] }
const flag = { type: ['boolean', 'null'] }
const anything = {}

/** The fields of a unit that decide nothing here. */
export const UNIT: Unpainted = {
  fixed: {
    mask: { schema: text, neutral: [''], unable: 'Easel masks no control pictures' },
    mask_image: { schema: text, neutral: [''], unable: 'Easel masks no control pictures' },
    effective_region_mask: { schema: text, neutral: [''], unable: 'a control counts everywhere' },
    control_mode: {
      schema: anything,
      neutral: ['Balanced', 0],
      unable: 'Easel weighs control and prompt as diffusers does'
    },
    guess_mode: { schema: flag, neutral: [false], unable: 'Easel has no guess mode' },
    guessmode: { schema: flag, neutral: [false], unable: 'Easel has no guess mode' },
    hr_option: { schema: anything, neutral: ['Both'], unable: 'both passes follow the picture' },
    advanced_weighting: { schema: anything, neutral: [[]], unable: 'a control has one weight' },
    union_control_type: { schema: text, neutral: ['Unknown'], unable: 'Easel has no ControlNet of several kinds' },
    input_mode: { schema: anything, neutral: ['simple'], unable: 'a unit has one picture' },
    batch_images: { schema: anything, neutral: ['', []], unable: 'a unit has one picture' },
    loopback: { schema: flag, neutral: [false], unable: 'Easel feeds no image back' }
  },
  ignored: {
    processor_res: "Preprocessors work at the image's size.",
    pixel_perfect: "Preprocessors always work at the image's size.",
    low_vram: 'The server decides how it uses memory.',
    lowvram: 'The server decides how it uses memory.',
    save_detected_map: 'The answer has the images alone.',
    inpaint_crop_input_image: 'Used with inpaint_full_res only.',
    is_ui: 'A note of the extension.',
    output_dir: 'Used with batches only.'
  }
}

const { controls } = parameters
const values = controls.schema.items.properties
const picture = (description: string) => Type.Optional(Type.Unsafe<unknown>({ description }))

/** A unit of AUTOMATIC1111's ControlNet extension. */
export const SdapiControlUnit = Type.Object(
  {
    enabled: maybe(Type.Boolean({ description: 'false leaves the unit out. Default: true.' })),
    module: maybe(
      Type.String({
        maxLength: 200,
        description:
          'What is made of the picture: `none`, the default, `canny` or `lineart_standard`; or for an IP-Adapter `ip-adapter-auto`.'
      })
    ),
    model: maybe(
      Type.String({
        maxLength: 200,
        description: 'A name that GET /controls or GET /ip-adapters lists. What follows it in brackets is ignored.'
      })
    ),
    weight: maybe({ ...values.controlnet_conditioning_scale, description: 'How strong it is. Default: 1.' }),
    image: picture('The picture, in base64 or as a data: URL, or an object with it as `image`.'),
    input_image: picture('The same under its older name. Without either, img2img follows its own picture.'),
    resize_mode: Type.Optional(
      Type.Unsafe<unknown>({
        description:
          "How the picture is brought to the image's size: 0 or `Just Resize`, 1 or `Crop and Resize`, the default, 2 or `Resize and Fill`."
      })
    ),
    threshold_a: maybe(
      Type.Number({ maximum: 2040, description: "canny's lower threshold. Default: 100, also below 0." })
    ),
    threshold_b: maybe(
      Type.Number({ maximum: 2040, description: "canny's higher threshold. Default: 200, also below 0." })
    ),
    guidance_start: maybe({
      ...values.control_guidance_start,
      description: 'Where in the steps it starts. Default: 0.'
    }),
    guidance_end: maybe({ ...values.control_guidance_end, description: 'Where it ends. Default: 1.' }),
    guidance: maybe({ ...values.control_guidance_end, description: 'An older name of guidance_end.' }),
    ...unpaintedProperties(UNIT)
  },
  { $id: 'SdapiControlUnit' }
)
export type SdapiControlUnit = Static<typeof SdapiControlUnit> & Readonly<Record<string, unknown>>

const { $id: _, ...unit } = SdapiControlUnit as typeof SdapiControlUnit & { $id: string }

const script = maybe(
  Type.Object(
    {
      args: Type.Optional(
        Type.Array(Type.Unsafe<SdapiControlUnit | null>({ ...unit, type: ['object', 'null'] }), {
          maxItems: MAX_UNITS,
          description: 'Its units: at most two controls and one IP-Adapter that are not off.'
        })
      )
    },
    { description: 'What the ControlNet extension takes.' }
  )
)

/** The scripts of a request that run always. Of them Easel knows one, by either of its names. */
export const SdapiScripts = Type.Object(
  { controlnet: script, ControlNet: script },
  { additionalProperties: true, description: 'Scripts by name. Others than controlnet must have no arguments.' }
)
export type SdapiScripts = Static<typeof SdapiScripts>
