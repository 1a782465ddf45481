import { Type, type TUnsafe } from 'typebox'
import { type Preset, presetProperties } from '../parameters.js'

/** A preset as /health and /v1/models list it: the fields that it sets, with their values. */
export const PresetSchema = Type.Object(presetProperties()) as unknown as TUnsafe<Preset>
