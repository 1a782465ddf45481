import { Type, type Static, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import { bare, type NamesWith, type Parameter, type parameters, parametersWith } from '../parameters.js'

type Table = typeof parameters
type RecipeName = NamesWith<'recipe'>
type RecipeProperties = {
  [N in RecipeName]: Table[N]['recipe'] extends 'always'
    ? TUnsafe<Static<Table[N]['schema']>>
    : TOptional<
        Table[N]['recipe'] extends 'where decided'
          ? TUnsafe<Static<Table[N]['schema']>>
          : Extract<Table[N]['recipe'], TSchema>
      >
}

const recipeProperties = Object.fromEntries(
  parametersWith('recipe').map(({ name, schema, recipe }) => [name, propertyOf(schema, recipe)])
) as RecipeProperties

/**
 * Everything that determines an image, under the standard parameter names. Sent to POST /generate without the model and
 * version, it reproduces the file byte for byte.
 */
export const Recipe = Type.Object(
  {
    ...recipeProperties,
    /** The model's id. */
    model: Type.String(),
    /** Digest of the model's weights. */
    model_digest: Type.String(),
    /** Easel's release. */
    version: Type.String()
  },
  { $id: 'Recipe' }
)
export type Recipe = Static<typeof Recipe>

function propertyOf(schema: TSchema, recipe: NonNullable<Parameter['recipe']>): TSchema {
  return recipe === 'always' ? bare(schema) : Type.Optional(recipe === 'where decided' ? bare(schema) : recipe)
}

const PROMPTS: ReadonlySet<string> = new Set([
  'prompt',
  'prompt_2',
  'negative_prompt',
  'negative_prompt_2'
] satisfies (keyof Recipe)[])

/** Well under the 8 KiB that common proxies allow for all headers together. */
const MAX_HEADER_BYTES = 4096

/**
 * The recipe as a header value: ASCII JSON. Omits the prompts if they make it too long; the client has them, and the
 * image carries the whole recipe.
 */
export function recipeHeader(recipe: Recipe): string {
  const whole = asciiJson(recipe)
  if (whole.length <= MAX_HEADER_BYTES) return whole
  return asciiJson(Object.fromEntries(Object.entries(recipe).filter(([name]) => !PROMPTS.has(name))))
}

/** JSON with all non-ASCII characters escaped. */
export function asciiJson(value: object): string {
  return ascii(JSON.stringify(value))
}

/** Text with all non-ASCII characters escaped as in JSON, for headers. */
export function ascii(text: string): string {
  return text.replaceAll(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
