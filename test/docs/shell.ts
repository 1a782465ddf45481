import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/gateway-options.js'

/** The blocks of shell in a page. */
export function shellBlocks(page: string): string[] {
  return [...readFileSync(join(packageRoot, page), 'utf8').matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(
    ([, block = '']) => block
  )
}

/** The commands in them that start with a program's name, each on one line; also inside of `$(…)`. */
export function commandsOf(page: string, program: string): string[] {
  const lines = shellBlocks(page).flatMap((block) => block.replaceAll(/\\\n\s*/g, '').split('\n'))
  const all = [...lines, ...inline(page)]
  return all.flatMap((line) =>
    [...line.matchAll(new RegExp(`(?:^|\\$\\(|[|&;] )(${program} [^#]*?)(?= \\| | && | &$|\\)$|\\s+#|$)`, 'g'))].map(
      ([, command = '']) => command.trim()
    )
  )
}

/** Commands between backticks in the text. */
function inline(page: string): string[] {
  const text = readFileSync(join(packageRoot, page), 'utf8').replaceAll(/^```[\s\S]*?^```$/gm, '')
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
}
