/** The parts of a model's offer that narrow what a request may contain. */
export interface Offered {
  readonly model: { readonly id: string }
  readonly schedulers: readonly string[]
  readonly presets: readonly { readonly name: string }[]
  readonly limits: Readonly<Record<string, number>>
}

const SDAPI_NAMES: Readonly<Record<string, string>> = {
  num_inference_steps: 'steps',
  guidance_scale: 'cfg_scale',
  num_images: 'batch_size'
}

function openAiName(limit: string): string {
  return limit === 'num_images' ? 'n' : limit
}

/** The requests for images, with their names for our limits. */
const REQUESTS: Readonly<Record<string, (limit: string) => string | undefined>> = {
  GenerateRequest: (limit) => limit,
  GenerateForm: (limit) => limit,
  OpenAiImagesRequest: openAiName,
  OpenAiEditsRequest: openAiName,
  OpenAiEditsForm: openAiName,
  OpenAiVariationsForm: openAiName,
  // Its clip_skip counts from another layer.
  SdapiTxt2ImgRequest: (limit) => SDAPI_NAMES[limit],
  SdapiImg2ImgRequest: (limit) => SDAPI_NAMES[limit]
}

type Schema = Record<string, unknown>
interface Document {
  components?: { schemas?: Record<string, { properties?: Record<string, Schema> }> }
}

/**
 * Narrows the requests in an OpenAPI document to the models, limits, schedulers and presets that the workers accept, so
 * that a client generated from it is not refused for a value the document allows. What several models have is united.
 * Without an offer, returns the document unchanged.
 */
export function asOffered<D extends object>(document: D, offers: readonly Offered[]): D {
  if (offers.length === 0) return document
  const names = {
    scheduler: new Set(offers.flatMap((offer) => offer.schedulers)),
    preset: new Set(offers.flatMap((offer) => offer.presets.map(({ name }) => name)))
  }
  const limits: Record<string, number> = {}
  for (const offer of offers)
    for (const [name, most] of Object.entries(offer.limits)) limits[name] = Math.max(most, limits[name] ?? 0)
  const narrowed = structuredClone(document)
  for (const [schema, nameOf] of Object.entries(REQUESTS)) {
    const properties = (narrowed as Document).components?.schemas?.[schema]?.properties ?? {}
    for (const [limit, maximum] of Object.entries(limits)) {
      const property = properties[nameOf(limit) ?? '']
      if (property !== undefined) property['maximum'] = Math.min(maximum, Number(property['maximum'] ?? Infinity))
    }
    // OpenAI's own names also choose the default model under /v1, so the list is closed only here.
    const model = properties['model']
    if (model !== undefined && schema.startsWith('Generate')) model['enum'] = offers.map((offer) => offer.model.id)
    // The names of samplers under /sdapi are others.
    if (schema.startsWith('Sdapi')) continue
    for (const [name, values] of Object.entries(names)) {
      const property = properties[name]
      // An enum must not be empty.
      if (property === undefined || values.size === 0) continue
      property['enum'] = Array.isArray(property['type']) ? [...values, null] : [...values]
    }
  }
  return narrowed
}
