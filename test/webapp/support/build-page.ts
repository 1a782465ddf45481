import { build } from 'vite'
import { freshness } from '../../../tools/stamp.mjs'

/** Before any test: builds the page, unless dist/ has the page of just these sources. */
export default async function buildPage(): Promise<void> {
  const stamp = freshness('dist/page.stamp', ['src/webapp/page', 'src/schemas', 'package-lock.json'])
  await stamp.make(() => build({ root: 'src/webapp/page', logLevel: 'warn' }))
}
