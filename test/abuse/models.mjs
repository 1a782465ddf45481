// @ts-check
// Attack 9: a worker with another model sends HELLO while one already serves.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../../tools/run.mjs'
import { attacked } from './lib/attack.mjs'
import { generate, SMALL, tally } from './lib/http.mjs'
import { waitFor } from './lib/proc.mjs'
import { OtherWorker } from './lib/other-worker.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */

const OTHERS = '0123456789abcdef'.repeat(4)
/** How long the gateway may take to answer a HELLO, in ms. */
const HELLO_MS = 5000
const REQUESTS = 12
const FAKE = '--sizes 64x64 --rows 2 --fake-step-ms 50'

export async function modelAttacks() {
  return [
    await attacked('a worker with another model', { fake: FAKE, connect: true }, async ({ gateway }) => {
      const other = new OtherWorker(gateway.endpoint, {
        name: 'other-model',
        digest: OTHERS,
        tokenizers: await tokenizers()
      })
      try {
        await other.hello()
        await waitFor(() => other.answer !== undefined, HELLO_MS)
        const answers = await Promise.all(
          Array.from({ length: REQUESTS }, (_, seed) => generate(gateway.url, { ...SMALL, seed }))
        )
        const makers = answers
          .filter(({ status }) => status === 200)
          .map(({ headers }) => ({
            digest: JSON.parse(String(headers['easel-recipe'])).model_digest,
            seed: Number(headers['easel-seed'])
          }))
        const wrong = makers.filter(({ digest, seed }) => (digest === OTHERS) !== other.made.has(seed)).length
        /** @type {Row[]} */
        const rows = [
          {
            attack: 'a second worker with another model',
            limit: '0 images made by it, REFUSED',
            found: `${other.answer ?? 'no answer'}, ${other.made.size} images (${tally(answers.map(({ status }) => status))})`,
            held: other.answer === 'REFUSED' && other.made.size === 0 && makers.length === REQUESTS
          },
          {
            attack: 'recipes with the digest of a worker that did not make the image',
            limit: `0 of ${REQUESTS}`,
            found: String(wrong),
            held: wrong === 0 && makers.length > 0
          }
        ]
        return rows
      } finally {
        other.close()
      }
    })
  ]
}

/** Digests of the tokenizers of the gateway's model: a worker with others is always refused. @returns {Promise<string[]>} */
async function tokenizers() {
  const { SdxlTokenizers } = await import(pathToFileURL(join(root, 'dist/tokenizer/index.js')).href)
  const loaded = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  return loaded.tokenizers.map((/** @type {{ digest: string }} */ { digest }) => digest)
}
