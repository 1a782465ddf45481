import { Type } from 'typebox'
import { parameters } from '../parameters.js'

/** The query of lists of what one model has. */
export const ModelQuery = Type.Object({ model: Type.Optional(parameters.model.schema) })
