import { describe, expect, it } from 'vitest'
import { loadOptions, OptionError } from '../src/gateway-options.js'
import { parseValkeyAddress, shownAddress } from '../src/valkey-address.js'

const bare = { db: 0, username: undefined, password: undefined }

describe('JOB_STORE', () => {
  it.each([
    ['valkey://store', { ...bare, host: 'store', port: 6379, tls: false }],
    ['redis://127.0.0.1:7000/3', { ...bare, host: '127.0.0.1', port: 7000, tls: false, db: 3 }],
    ['rediss://[::1]:1/', { ...bare, host: '::1', port: 1, tls: true }],
    [
      'valkeys://me:p%40ss@store.example:6380',
      { host: 'store.example', port: 6380, tls: true, db: 0, username: 'me', password: 'p@ss' }
    ],
    ['valkey://:only@store', { host: 'store', port: 6379, tls: false, db: 0, username: undefined, password: 'only' }]
  ])('%s', (text, address) => {
    expect(parseValkeyAddress(text)).toEqual(address)
    expect(shownAddress(address)).not.toMatch(/p@ss|only|me:/)
  })

  it.each([
    'valkey',
    'http://:secret@store',
    'valkey://:secret@store/x',
    'valkey://:secret@store/1?a=b',
    'valkey://:secret@/1',
    'memory://:secret@x'
  ])('%s is refused, without being repeated', (text) => {
    const refuse = () => loadOptions([], { JOB_STORE: text })
    expect(refuse).toThrow(OptionError)
    expect(refuse).toThrow(/^JOB_STORE (must|is)/)
    expect(refuse).not.toThrow(/secret/)
  })

  it('decides what JOB_BYTES may be', () => {
    const memory = { MEMORY_BUDGET: String(2 ** 26) }
    expect(loadOptions([], memory)).toMatchObject({ jobStore: undefined, jobBytes: 2 ** 22 })
    expect(() => loadOptions([], { ...memory, JOB_BYTES: String(2 ** 24) })).toThrow(
      /JOB_BYTES=16777216 must be at most/
    )
    expect(loadOptions([], { ...memory, JOB_STORE: 'valkey://x', JOB_BYTES: String(2 ** 34) })).toMatchObject({
      jobStore: { host: 'x' },
      jobBytes: 2 ** 34
    })
    expect(() => loadOptions([], { JOB_REPLICAS: '1' })).toThrow('JOB_REPLICAS needs a JOB_STORE in Valkey')
  })
})
