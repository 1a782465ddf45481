import { Type } from 'typebox'
import { type Format, FORMATS } from '../image/formats.js'

/** A file format, for use in other schemas. */
export const OutputFormat = Type.Unsafe<Format>({ type: 'string', enum: [...FORMATS] })
