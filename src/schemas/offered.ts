/** What the workers offer, as far as it narrows a request. */
export interface Offered {
  readonly schedulers: readonly string[]
  readonly limits: { readonly max_steps: number; readonly max_guidance_scale: number; readonly max_images: number; readonly max_cache_interval?: number }
}

type Schema = Record<string, unknown>
interface Document {
  components?: { schemas?: Record<string, { properties?: Record<string, Schema> }> }
}

/** The names that the number of images has. */
const IMAGES = ['num_images', 'n']

/**
 * An OpenAPI document whose requests are no wider than what the workers take: a client that is made of it, or held to it, is
 * not refused for a number that the document allows. Without workers it is the document itself.
 */
export function asOffered<D extends object>(document: D, offered: Offered | undefined): D {
  if (offered === undefined) return document
  const { limits, schedulers } = offered
  const narrowed = structuredClone(document)
  const maxima: Record<string, number> = {
    num_inference_steps: limits.max_steps,
    guidance_scale: limits.max_guidance_scale,
    cache_interval: limits.max_cache_interval ?? 1,
    ...Object.fromEntries(IMAGES.map((name) => [name, limits.max_images]))
  }
  for (const schema of ['GenerateRequest', 'OpenAiImagesRequest']) {
    const properties = (narrowed as Document).components?.schemas?.[schema]?.properties ?? {}
    for (const [name, maximum] of Object.entries(maxima)) {
      const property = properties[name]
      if (property !== undefined) property['maximum'] = Math.min(maximum, Number(property['maximum'] ?? Infinity))
    }
    const scheduler = properties['scheduler']
    if (scheduler !== undefined) scheduler['enum'] = Array.isArray(scheduler['type']) ? [...schedulers, null] : [...schedulers]
  }
  return narrowed
}
