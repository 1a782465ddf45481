import { build } from 'vite'
import { freshness } from '../../../tools/stamp.mjs'

/** Builds the page before any test, unless dist/ has it from the same sources. */
export default async function buildPage(): Promise<void> {
  const stamp = freshness('dist/page.stamp', ['src/webapp/page', 'src/schemas', 'package-lock.json'])
  await stamp.make(() => build({ root: 'src/webapp/page', logLevel: 'warn' }))
}
