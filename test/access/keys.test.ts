import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findKey, parseKeys } from '../../src/access/keys.js'

const file = (...keys: object[]) => JSON.stringify({ keys })
const secret = 'correct-horse-battery'

describe('parseKeys', () => {
  it('accepts keys in clear text or as SHA-256, with limits', () => {
    const sha256 = createHash('sha256').update(secret).digest('hex')
    const keys = parseKeys(
      file(
        { name: 'a', key: 'another-long-secret', requests_per_minute: 60, concurrent_requests: 4 },
        { name: 'b', sha256, weight: 2.5, batch_only: true }
      )
    )
    expect(
      keys.map(({ name, requestsPerMinute, concurrentRequests }) => [name, requestsPerMinute, concurrentRequests])
    ).toEqual([
      ['a', 60, 4],
      ['b', undefined, undefined]
    ])
    expect(keys.map(({ weight, batchOnly }) => [weight, batchOnly])).toEqual([
      [1, false],
      [2.5, true]
    ])
    expect(findKey(keys, secret)?.name).toBe('b')
    expect(findKey(keys, 'another-long-secret')?.name).toBe('a')
  })

  it.each([
    ['invalid JSON', 'name: a', /not JSON/],
    ['a list', '[]', /./],
    ['an unknown field', file({ name: 'a', key: secret, admin: true }), /keys\/0/],
    [
      'a key with characters not allowed in a header',
      file({ name: 'a', key: 'sixteen characters and spaces' }),
      /keys\/0\/key/
    ],
    ['a short key', file({ name: 'a', key: 'short' }), /keys\/0\/key/],
    ['a weight of 0', file({ name: 'a', key: secret, weight: 0 }), /keys\/0\/weight/],
    ['a name with a space', file({ name: 'a b', key: secret }), /keys\/0\/name/],
    [
      'two keys with the same name',
      file({ name: 'a', key: secret }, { name: 'a', key: `${secret}2` }),
      /two keys have the name a/
    ],
    ['neither key nor hash', file({ name: 'a' }), /either key or sha256/],
    [
      'a host that is none',
      file({ name: 'a', key: 'another-long-secret', webhook_hosts: ['b.example', `https://c.example/${secret}`] }),
      /^a: webhook_hosts: host 2 must be/
    ],
    [
      'a secret that is none',
      file({ name: 'a', key: 'another-long-secret', webhook_secrets: [`whsec_${secret}`] }),
      /^a: webhook_secrets: secret 1 must be/
    ],
    ['both', file({ name: 'a', key: secret, sha256: '0'.repeat(64) }), /either key or sha256/]
  ])('rejects %s without revealing the secret', (_what, text, message) => {
    expect(() => parseKeys(text)).toThrow(message)
    expect(() => parseKeys(text)).not.toThrow(secret)
  })

  it('finds no key for a similar token, or for one whose digest partly matches', () => {
    const keys = parseKeys(file({ name: 'a', key: secret }))
    const near = [secret.slice(1), secret.slice(0, -1), `${secret} `, secret.toUpperCase()]
    // Enough tokens for some to match if the comparison covered only two bytes of the digest.
    const others = Array.from({ length: 300_000 }, (_, index) => String(index))
    expect([...near, ...others].filter((token) => findKey(keys, token) !== undefined)).toEqual([])
  })

  it('finds a key only for its exact token', () => {
    const keys = parseKeys(file({ name: 'a', key: secret }))
    fc.assert(
      fc.property(fc.string(), (token) => {
        expect(findKey(keys, token)).toBe(token === secret ? keys[0] : undefined)
      })
    )
  })
})
