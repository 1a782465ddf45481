// @ts-check
// Finds out why an install failed. npm, pip and apt print pages of output, or only a number.
import { existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'

const MB = 1e6
/** With less free space, the full disk is the cause of any failure. */
const NO_ROOM = 20 * MB

const FULL = /ENOSPC|EDQUOT|no space left on device|disk quota exceeded/i
const UNTRUSTED = /SELF_SIGNED_CERT\w*|UNABLE_TO_\w*(?:CERT|SIGNATURE)\w*|CERT_HAS_EXPIRED|CERTIFICATE_VERIFY_FAILED/i
const UNREACHABLE = new RegExp(
  [
    'ENOTFOUND',
    'EAI_AGAIN',
    'ECONNREFUSED',
    'ECONNRESET',
    'ETIMEDOUT',
    'ENETUNREACH',
    'EHOSTUNREACH',
    'ERR_SOCKET_TIMEOUT',
    'ENETDOWN',
    'Failed to establish a new connection',
    'NewConnectionError',
    'NameResolutionError',
    'ConnectTimeoutError',
    'ReadTimeoutError',
    'ProxyError',
    'Could not resolve',
    'Temporary failure (?:in name resolution|resolving)'
  ].join('|'),
  'i'
)
const NO_VENV = /ensurepip is not(?:\s|$)|No module named '?(?:venv|ensurepip)/

/**
 * Returns a message whose first line says what failed and what to do, if known; otherwise with the whole output.
 *
 * @param {string} title the step that failed
 * @param {string} output of the command that failed, or its error
 * @param {string} folder where the command wrote
 * @param {(folder: string) => number} [freeBytes] free space on the folder's disk
 */
export function explain(title, output, folder, freeBytes = roomFor) {
  const line = (/** @type {RegExp} */ pattern) =>
    output
      .split('\n')
      .find((each) => pattern.test(each))
      ?.trim()
  const free = freeBytes(folder)
  if (FULL.test(output) || free < NO_ROOM) {
    const where =
      free < NO_ROOM
        ? `the disk of ${folder} is full (${(free / MB).toFixed(0)} MB are free)`
        : `the disk of ${folder}, of the temporary folder (TMPDIR) or of a cache was full`
    return `${title}: ${where}. Free some space and start again.\n${line(FULL) ?? ''}`
  }
  if (UNTRUSTED.test(output)) {
    return `${title}: this machine does not trust the registry's certificate. Behind a proxy with its own certificate, set NODE_EXTRA_CA_CERTS (npm) and PIP_CERT (pip) to its file.\n${line(UNTRUSTED)}`
  }
  if (UNREACHABLE.test(output)) {
    return `${title}: the registry cannot be reached. Check the network, the proxy in HTTPS_PROXY and the configured registries of npm and pip, then start again.\n${line(UNREACHABLE)}`
  }
  if (NO_VENV.test(output)) {
    return `${title}: the worker needs Python's venv module; on Debian and Ubuntu: apt-get install python3-venv\n${line(NO_VENV)}`
  }
  return `${title}: ${output.trim()}`
}

/** @param {string} folder may not exist yet */
function roomFor(folder) {
  let there = folder
  while (!existsSync(there)) there = dirname(there)
  const { bavail, bsize } = statfsSync(there)
  return bavail * bsize
}
