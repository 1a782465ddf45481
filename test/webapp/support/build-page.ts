import { build } from 'vite'
import { page } from '../../../tools/setup.mjs'

/** Builds the page before any test, unless dist/ has it from the same sources. */
export default async function buildPage(): Promise<void> {
  await page.make(() => build({ root: 'src/webapp/page', logLevel: 'warn' }))
}
