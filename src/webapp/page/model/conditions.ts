import type { GenerateRequest, Known } from '../api/types.js'

/** The request's fields whose entries have a picture each, with the part of a form that has the file. */
export const PARTS = { controls: 'control_image', ip_adapters: 'ip_adapter_image' } as const
export type ConditionList = keyof typeof PARTS

/** An entry of one of these fields, without its picture. */
export type Condition = NonNullable<GenerateRequest['controls']>[number] &
  Pick<NonNullable<GenerateRequest['ip_adapters']>[number], 'scale'>

/** What a preprocessor makes of a picture. */
export type Drawing = Pick<Condition, 'preprocessor' | 'low_threshold' | 'high_threshold' | 'resize_mode'>

/** An entry as the form has it: without digests, so that another file of that name or another picture serves. */
export function plainCondition({
  digest: _digest,
  image_sha256: _picture,
  image: _image,
  ...entry
}: Condition): Condition {
  return entry
}

/** The lists of a recipe as the form has them. */
export function conditionsOf(recipe: Pick<Known, ConditionList>): Pick<GenerateRequest, ConditionList> {
  const lists = (Object.keys(PARTS) as ConditionList[]).flatMap((list) => {
    const entries: readonly Condition[] = recipe[list] ?? []
    return entries.length === 0 ? [] : [[list, entries.map(plainCondition)]]
  })
  return Object.fromEntries(lists) as Pick<GenerateRequest, ConditionList>
}
