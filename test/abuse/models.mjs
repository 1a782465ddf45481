// @ts-check
// Attack 9: workers with another model or other weights send HELLO while one already serves.
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
    await attack('a worker with a model of another name', 'other', 'REFUSED'),
    await attack('a worker with other weights under the same name', 'fake', 'WELCOME')
  ]
}

/**
 * @param {string} title
 * @param {string} model the other worker's model
 * @param {'REFUSED' | 'WELCOME'} expected the answer to its HELLO. If it is welcome, it makes all images
 */
function attack(title, model, expected) {
  return attacked(title, { fake: FAKE, connect: true }, async ({ gateway }) => {
    const other = new OtherWorker(gateway.endpoint, {
      name: 'other-model',
      model,
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
      const images = expected === 'REFUSED' ? 0 : REQUESTS
      /** @type {Row[]} */
      const rows = [
        {
          attack: title,
          limit: `${expected}, ${images} images made by it`,
          found: `${other.answer ?? 'no answer'}, ${other.made.size} images (${tally(answers.map(({ status }) => status))})`,
          held: other.answer === expected && other.made.size === images && makers.length === REQUESTS
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
}

/** Digests of the tokenizers of the gateway's model: a worker with others is always refused. @returns {Promise<string[]>} */
async function tokenizers() {
  const { SdxlTokenizers } = await import(pathToFileURL(join(root, 'dist/tokenizer/index.js')).href)
  const loaded = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  return loaded.tokenizers.map((/** @type {{ digest: string }} */ { digest }) => digest)
}
