import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findKey, parseKeys } from '../../src/access/keys.js'

const file = (...keys: object[]) => JSON.stringify({ keys })
const secret = 'correct-horse-battery'

describe('parseKeys', () => {
  it('takes keys in clear or as their SHA-256, with limits', () => {
    const sha256 = createHash('sha256').update(secret).digest('hex')
    const keys = parseKeys(
      file(
        { name: 'a', key: 'another-long-secret', requests_per_minute: 60, concurrent_requests: 4 },
        { name: 'b', sha256 }
      )
    )
    expect(
      keys.map(({ name, requestsPerMinute, concurrentRequests }) => [name, requestsPerMinute, concurrentRequests])
    ).toEqual([
      ['a', 60, 4],
      ['b', undefined, undefined]
    ])
    expect(findKey(keys, secret)?.name).toBe('b')
    expect(findKey(keys, 'another-long-secret')?.name).toBe('a')
  })

  it.each([
    ['no JSON', 'name: a', /not JSON/],
    ['a list', '[]', /./],
    ['an unknown field', file({ name: 'a', key: secret, admin: true }), /keys\/0/],
    ['a key that no header can carry', file({ name: 'a', key: 'sixteen characters and spaces' }), /keys\/0\/key/],
    ['a short key', file({ name: 'a', key: 'short' }), /keys\/0\/key/],
    ['a name that would spoil a metric', file({ name: 'a b', key: secret }), /keys\/0\/name/],
    ['two of a name', file({ name: 'a', key: secret }, { name: 'a', key: `${secret}2` }), /two keys have the name a/],
    ['neither key nor hash', file({ name: 'a' }), /either key or sha256/],
    ['both', file({ name: 'a', key: secret, sha256: '0'.repeat(64) }), /either key or sha256/]
  ])('refuses %s, and does not repeat a secret', (_what, text, message) => {
    expect(() => parseKeys(text)).toThrow(message)
    expect(() => parseKeys(text)).not.toThrow(secret)
  })

  it('finds no key for a token that is nearly one, in its text or by chance in its digest', () => {
    const keys = parseKeys(file({ name: 'a', key: secret }))
    const near = [secret.slice(1), secret.slice(0, -1), `${secret} `, secret.toUpperCase()]
    // So many that of a digest compared in part, were it two bytes, some would agree.
    const others = Array.from({ length: 300_000 }, (_, index) => String(index))
    expect([...near, ...others].filter((token) => findKey(keys, token) !== undefined)).toEqual([])
  })

  it('finds no key for any other token', () => {
    const keys = parseKeys(file({ name: 'a', key: secret }))
    fc.assert(
      fc.property(fc.string(), (token) => {
        expect(findKey(keys, token)).toBe(token === secret ? keys[0] : undefined)
      })
    )
  })
})
