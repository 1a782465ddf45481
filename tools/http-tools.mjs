// @ts-check
import { pythonTools } from './tool-cache.mjs'

/**
 * Schemathesis, which tries an HTTP interface from its OpenAPI document.
 *
 * @returns {Promise<string>} the Python that has it: `python -m schemathesis.cli`
 */
export function schemathesis() {
  return pythonTools('schemathesis', 'test/http/requirements.lock', 'Installing schemathesis (90 MB on disk)')
}
