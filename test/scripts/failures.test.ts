import { tmpdir } from 'node:os'
import { describe, expect, it } from 'vitest'
import { explain } from '../../tools/failures.mjs'

/** What the programs print, as they did. */
const PRINTED: [what: string, output: string, first: RegExp, line: string][] = [
  [
    'npm without a name server',
    'npm error code ENOTFOUND\nnpm error syscall getaddrinfo\nnpm error errno ENOTFOUND\nnpm error network request to http://nosuch.invalid/zeromq failed, reason: getaddrinfo ENOTFOUND nosuch.invalid\n',
    /^Installing: the registry cannot be reached\. .*HTTPS_PROXY/,
    'npm error code ENOTFOUND'
  ],
  [
    'npm without a registry',
    'npm error code ECONNREFUSED\nnpm error syscall connect\n',
    /^Installing: the registry cannot be reached/,
    'npm error code ECONNREFUSED'
  ],
  [
    'npm behind a proxy',
    'npm error code SELF_SIGNED_CERT_IN_CHAIN\nnpm error errno SELF_SIGNED_CERT_IN_CHAIN\n',
    /does not trust the registry's certificate.*NODE_EXTRA_CA_CERTS/,
    'npm error code SELF_SIGNED_CERT_IN_CHAIN'
  ],
  [
    'npm on a full disk',
    'npm error code ENOSPC\nnpm error syscall write\n',
    /^Installing: the disk of .* (is|was) full/,
    'npm error code ENOSPC'
  ],
  [
    'npm that warns of a full disk',
    'npm did not unpack all files:\nnpm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write',
    /^Installing: the disk of .* (is|was) full/,
    'npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write'
  ],
  [
    'pip without a name server',
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7fde0bdb8a90>: Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/six/\nERROR: Could not find a version that satisfies the requirement six (from versions: none)\n",
    /^Installing: the registry cannot be reached/,
    'WARNING: Retrying'
  ],
  [
    'pip on a full disk',
    'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n',
    /^Installing: the disk of .* (is|was) full/,
    'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device'
  ],
  [
    "a Python without Debian's python3-venv",
    'The virtual environment was not created successfully because ensurepip is not\navailable.  On Debian/Ubuntu systems, you need to install the python3-venv\npackage using the following command.\n',
    /^Installing: the worker needs Python's venv module; .*apt-get install python3-venv/,
    'ensurepip is not'
  ],
  [
    'a Python without venv',
    '/usr/bin/python3: No module named venv\n',
    /needs Python's venv module/,
    'No module named venv'
  ],
  [
    'apt without a name server',
    "W: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Temporary failure resolving 'deb.debian.org'\n",
    /registry cannot be reached/,
    'Temporary failure resolving'
  ]
]

describe('a failed install', () => {
  it.each(PRINTED)('of %s is said as what it is', (_, output, first, line) => {
    const [said = '', ...rest] = explain('Installing', output, tmpdir()).split('\n')
    expect(said).toMatch(first)
    expect(rest.join('\n')).toContain(line)
    expect(rest).toHaveLength(1)
  })

  it('that nobody foresaw keeps all that was printed', () => {
    expect(explain('Installing', 'one\ntwo\n', tmpdir())).toBe('Installing: one\ntwo')
  })

  it('where a full disk hides behind another message is said as that', () => {
    const hidden =
      "Error: Command '['/venv/bin/python3', '-m', 'ensurepip', '--upgrade', '--default-pip']' returned non-zero exit status 1."
    expect(explain('Installing', hidden, '/venv', () => 3e6)).toMatch(
      /^Installing: the disk of \/venv is full \(3 MB are free\)/
    )
    expect(explain('Installing', hidden, '/venv', () => 3e9)).toContain('non-zero exit status 1')
  })
})
