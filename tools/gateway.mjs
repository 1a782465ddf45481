// @ts-check
import { StepError } from './run.mjs'

/**
 * Returns the address that a gateway with LOG_FORMAT=json logs when its first worker is ready.
 *
 * @param {import('node:child_process').ChildProcess} server with a piped standard output, which is read and discarded
 * @returns {Promise<string>}
 */
export function readyAddress(server) {
  return new Promise((resolve, reject) => {
    let text = ''
    server.stdout?.on('data', (chunk) => {
      if (text === 'done') return
      text += chunk
      const address = text.match(/"address":"([^"]+)"/)?.[1]
      if (address === undefined) return
      text = 'done'
      resolve(address)
    })
    server.once('exit', () => reject(new StepError(`the server ended before it was ready:\n${text}`)))
  })
}
