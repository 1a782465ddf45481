// @ts-check
import { parentPort } from 'node:worker_threads'
import opencv from '@techstark/opencv-js'
import { canny, lineart } from './lines.mjs'

// Draws the lines of one picture after the other: a message is a task, and its answer the pixels. JavaScript, as the rest of
// this folder, because the tests run the sources: Node starts a thread from a file that it can read itself.
const cv = await opencv
parentPort?.on('message', (/** @type {import('../preprocess.js').Task} */ { picture, preprocessor }) => {
  const lines =
    preprocessor.name === 'canny' ? canny(cv, picture, preprocessor.low, preprocessor.high) : lineart(cv, picture)
  const data = new Uint8Array(3 * lines.length)
  for (let i = 0; i < data.length; i++) data[i] = /** @type {number} */ (lines[Math.floor(i / 3)])
  parentPort?.postMessage(data, [data.buffer])
})
