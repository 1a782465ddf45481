import { envOf, number, type Option, type OptionValues, optional, parseNumber, type Range } from './options.js'
import {
  type Defaults,
  type NamesWith,
  type Parameter,
  type parameters,
  parametersWith,
  type ValueOf
} from './parameters.js'

type Table = typeof parameters
type DefaultOptions = {
  [N in NamesWith<'setting'> as Table[N]['setting']['key']]: Option<
    Table[N] extends { neutral: number } ? number : ValueOf<N> | undefined
  >
}

/** The operator's defaults for requests: one option for each parameter with a `setting`. */
export const defaultOptions = Object.fromEntries(
  parametersWith('setting').map((parameter) => [parameter.setting.key, optionOf(parameter)])
) as unknown as DefaultOptions

/** The values of `defaultOptions`, by parameter name. */
export function defaultsIn(values: OptionValues<DefaultOptions>): Defaults {
  return Object.fromEntries(
    parametersWith('setting').map(({ name, setting }) => [name, values[setting.key as keyof typeof values]])
  ) as Defaults
}

function optionOf({
  schema,
  neutral,
  setting: { key, value, doc }
}: Parameter & { setting: NonNullable<Parameter['setting']> }): Option<unknown> {
  const {
    type,
    minimum: min = -Infinity,
    maximum: max = Infinity
  } = schema as { type?: string; minimum?: number; maximum?: number }
  const env = envOf(key)
  if (type === 'string') return optional({ env, doc, value: value ?? 'text', parse: (text: string) => text })
  const range: Range = { min, max, integer: type === 'integer' }
  if (neutral !== undefined) return number(env, neutral, range, doc)
  return optional({ env, doc, value: value ?? type ?? 'number', parse: (text: string) => parseNumber(text, range) })
}
