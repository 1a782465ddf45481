// @ts-check
import { pythonTools } from './tool-cache.mjs'

/**
 * Installs Schemathesis, which tests an HTTP API from its OpenAPI document.
 *
 * @returns {Promise<string>} the Python that has it, for `python -m schemathesis.cli`
 */
export function schemathesis() {
  return pythonTools('schemathesis', 'test/http/requirements.lock', 'Installing schemathesis (90 MB on disk)')
}
