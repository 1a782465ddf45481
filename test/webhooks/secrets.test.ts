import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parseSecrets, secretsIn, signatureOf } from '../../src/webhooks/secrets.js'

const whsec = (bytes: number, byte = 7) => `whsec_${Buffer.alloc(bytes, byte).toString('base64')}`

describe('secrets of webhooks', () => {
  it('are 24 to 64 bytes, one or more', () => {
    expect(parseSecrets(`${whsec(24)}\n  ${whsec(64)}\n`).map(({ length }) => length)).toEqual([24, 64])
  })

  it.each([
    '',
    whsec(23),
    whsec(65),
    whsec(32).slice('whsec_'.length),
    `${whsec(32)} ${whsec(32).slice(0, -1)}`,
    `whsec_${'-_'.repeat(22)}`,
    `whpk_${Buffer.alloc(32).toString('base64')}`,
    Array.from({ length: 5 }, (_, index) => whsec(32, index)).join(' ')
  ])('are refused without being repeated: %s', (text) => {
    let message = ''
    try {
      parseSecrets(text)
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).not.toBe('')
    for (const secret of text.split(/\s+/).filter(Boolean)) expect(message).not.toContain(secret)
  })

  it('may be in a file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-secrets-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'file'), `${whsec(32)}\n`)
    expect(await secretsIn(`@${join(folder, 'file')}`)).toEqual(await secretsIn(whsec(32)))
    await expect(secretsIn(`@${join(folder, 'none')}`)).rejects.toThrow('ENOENT')
  })
})

describe('a signature', () => {
  it('is right for each secret, by the reference implementation', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 24, maxLength: 64 }),
        fc.uint8Array({ minLength: 24, maxLength: 64 }),
        fc.string({ unit: 'binary' }).map((text) => JSON.stringify({ text })),
        (one, other, body) => {
          const secrets = [one, other].map((bytes) => `whsec_${Buffer.from(bytes).toString('base64')}`)
          const timestamp = Math.floor(Date.now() / 1000)
          const headers = {
            'webhook-id': 'msg_1',
            'webhook-timestamp': String(timestamp),
            'webhook-signature': signatureOf(parseSecrets(secrets.join(' ')), 'msg_1', timestamp, body)
          }
          expect(headers['webhook-signature'].split(' ')).toHaveLength(2)
          for (const secret of secrets) expect(new Webhook(secret).verify(body, headers)).toEqual(JSON.parse(body))
          expect(() => new Webhook(whsec(32, 0)).verify(body, headers)).toThrow('No matching signature')
          expect(() => new Webhook(secrets[0]!).verify(`${body} `, headers)).toThrow('No matching signature')
        }
      )
    )
  })
})
