// @ts-check
// npm run bench:start: how long a start takes and what it spends the time on: the demo model (or MODEL) through the real
// gateway, once with an empty cache of compiled programs and once with the filled one. Each start makes one image.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { startChild } from '../tools/children.mjs'
import { root, script, StepError } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'
import { post } from './lib/http-load.mjs'
import { machine, table } from '../tools/table.mjs'

const FIRST_IMAGE = /^the first image was done ([\d.]+) s after/

/**
 * @typedef {{ name: string, start: number, end: number, note: string }} Span seconds since the worker's process began
 * @typedef {{ spans: Span[], ready: number, image: number }} Start
 */

await script(async () => {
  await setup('runtime')
  await build()
  const cache = await mkdtemp(join(tmpdir(), 'easel-start-'))
  try {
    const [first, second] = [await start(cache), await start(cache)]
    const seconds = (/** @type {Span | undefined} */ span) =>
      span === undefined ? '' : `${span.start.toFixed(2)}–${span.end.toFixed(2)} ${span.note}`.trim()
    const rows = first.spans.map((span) => [
      span.name,
      seconds(span),
      seconds(second.spans.find(({ name }) => name === span.name))
    ])
    console.log(`\nStart of the worker, seconds since its process began\n${machine()}\n`)
    console.log(
      table(
        ['', 'empty cache', 'second start'],
        [
          ...rows,
          ['**ready**', first.ready.toFixed(2), second.ready.toFixed(2)],
          ['first image', first.image.toFixed(2), second.image.toFixed(2)]
        ]
      )
    )
    console.log(`\nThe cached start is ready ${(first.ready / second.ready).toFixed(1)} times as fast`)
  } finally {
    await rm(cache, { recursive: true })
  }
})

/**
 * @param {string} cache
 * @returns {Promise<Start>}
 */
async function start(cache) {
  const server = startChild(process.execPath, [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LOG_FORMAT: 'json', LOG_LEVEL: 'info', COMPILE_CACHE: cache }
  })
  const gone = once(server, 'exit').then(() => {
    throw new StepError('the server ended before its first image')
  })
  gone.catch(() => undefined)
  try {
    return await Promise.race([measured(server), gone])
  } finally {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
}

/**
 * @param {import('node:child_process').ChildProcess} server
 * @returns {Promise<Start>}
 */
async function measured(server) {
  /** @type {Span[]} */
  let spans = []
  for await (const text of createInterface({ input: /** @type {import('node:stream').Readable} */ (server.stdout) })) {
    const line = JSON.parse(text)
    if (line.timeline !== undefined) spans = line.timeline
    if (line.address !== undefined)
      post(line.address, { prompt: 'a red circle on a blue background', seed: 1 }).catch((error) =>
        server.emit('error', error)
      )
    const image = FIRST_IMAGE.exec(line.msg)?.[1]
    if (image !== undefined) return { spans, ready: Math.max(...spans.map(({ end }) => end)), image: Number(image) }
  }
  throw new StepError('the server did not log its first image')
}
