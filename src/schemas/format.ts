import { Type } from 'typebox'
import { type Format, FORMATS } from '../image/formats.js'

/** A file format, for any schema that has one. */
export const OutputFormat = Type.Unsafe<Format>({ type: 'string', enum: [...FORMATS] })
