import { MAX_GRADIENT } from './lines/canny.mjs'

/** What a request may have made of a control picture, by name. */
export const PREPROCESSORS = ['none', 'canny', 'lineart'] as const
export type PreprocessorName = (typeof PREPROCESSORS)[number]

/** Thresholds of canny: the defaults in diffusers' documents, and the largest of use. */
export const CANNY = { low: 100, high: 200, most: MAX_GRADIENT } as const

/** What is made of a picture. */
export type Preprocessor =
  { readonly name: 'none' | 'lineart' } | { readonly name: 'canny'; readonly low: number; readonly high: number }
