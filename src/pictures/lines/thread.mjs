// @ts-check
import { parentPort, workerData } from 'node:worker_threads'
import opencv from '@techstark/opencv-js'
import { canny, lineart } from './lines.mjs'

// Draws the lines of one picture: `workerData` is the task, the message its answer. JavaScript, as the rest of this folder,
// because the tests run the sources: Node starts a thread from a file that it can read itself.
const cv = await opencv
const { picture, preprocessor } = /** @type {import('../preprocess.js').Task} */ (workerData)
const lines =
  preprocessor.name === 'canny' ? canny(cv, picture, preprocessor.low, preprocessor.high) : lineart(cv, picture)
const data = new Uint8Array(3 * lines.length)
for (let i = 0; i < data.length; i++) data[i] = /** @type {number} */ (lines[Math.floor(i / 3)])
parentPort?.postMessage(data, [data.buffer])
