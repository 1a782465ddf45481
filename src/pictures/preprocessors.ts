/** What a request may have made of a control picture, by name. */
export const PREPROCESSORS = ['none', 'canny', 'lineart'] as const
export type PreprocessorName = (typeof PREPROCESSORS)[number]

/** Thresholds of canny: the defaults in diffusers' documents, and Sobel's largest gradients in x and y together. */
export const CANNY = { low: 100, high: 200, most: 2040 } as const

/** What is made of a picture. */
export type Preprocessor =
  { readonly name: 'none' | 'lineart' } | { readonly name: 'canny'; readonly low: number; readonly high: number }
