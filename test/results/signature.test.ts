import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Signer } from '../../src/results/signature.js'

const signer = new Signer('a secret')
const expiry = fc.nat()

it('verifies what it signed, with any signer of the same secret', () => {
  fc.assert(
    fc.property(fc.string(), expiry, (name, expires) => {
      expect(new Signer('a secret').verify(name, signer.sign(name, expires))).toBe(true)
    })
  )
})

it('refuses another name, time, secret or signature', () => {
  const other = fc.record({ name: fc.string(), expires: expiry, secret: fc.constantFrom('a secret', 'another') })
  fc.assert(
    fc.property(fc.string(), expiry, other, (name, expires, given) => {
      fc.pre(given.name !== name || given.expires !== expires || given.secret !== 'a secret')
      const { signature } = signer.sign(name, expires)
      expect(new Signer(given.secret).verify(given.name, { expires: given.expires, signature })).toBe(false)
    })
  )
  for (const signature of ['', 'x', 'A'.repeat(43), signer.sign('n', 1).signature.slice(1)])
    expect(signer.verify('n', { expires: 1, signature })).toBe(false)
})

it('keeps the time and the name apart', () => {
  const { signature } = signer.sign('2\nname', 1)
  expect(signer.verify('name', { expires: 1, signature })).toBe(false)
})
