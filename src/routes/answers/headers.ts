import { recipeHeader } from '../../image/recipe.js'
import type { Finished, Run, RunTimings } from '../../service/run.js'

/** What every successful answer says in its headers. */
export function answerHeaders(run: Run, { images, timings }: Finished, withRecipe: boolean): Record<string, string> {
  const first = images[0]!
  return {
    'easel-seed': images.map(({ seed }) => seed).join(', '),
    'server-timing': serverTiming(timings),
    ...(withRecipe ? { 'easel-recipe': recipeHeader(first.recipe) } : {}),
    ...(run.truncated.length > 0 ? { 'easel-truncated': run.truncated.join(', ') } : {})
  }
}

/** @see https://www.w3.org/TR/server-timing/ */
function serverTiming(timings: RunTimings): string {
  return Object.entries(timings)
    .map(([name, ms]) => `${name.replace(/_ms$/, '')};dur=${(ms as number).toFixed(1)}`)
    .join(', ')
}
