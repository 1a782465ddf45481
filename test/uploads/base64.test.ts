import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { base64Of } from '../../src/uploads/base64.js'
import { collected, inPieces, pieceSizes } from './support.js'

const decoded = (text: string, sizes: readonly number[] = [7]) =>
  collected(base64Of('image', inPieces(Buffer.from(text), sizes)))

describe('base64', () => {
  it('gives the bytes back, in any pieces and of any writer', async () => {
    const heads = fc.constantFrom('', 'data:image/png;base64,', 'DATA:;Base64,', 'data:image/png;name=a.png;base64,')
    const writers = fc.constantFrom<(bytes: Buffer) => string>(
      (bytes) => bytes.toString('base64'),
      (bytes) => bytes.toString('base64url'),
      (bytes) => bytes.toString('base64').replaceAll(/.{1,76}/g, '$&\r\n')
    )
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 300 }),
        heads,
        writers,
        pieceSizes,
        async (bytes, head, write, sizes) => {
          const text = `${head}${write(Buffer.from(bytes))}`
          expect((await decoded(text, sizes)).equals(bytes)).toBe(true)
        }
      )
    )
  })

  it.each([
    ['another character', 'AAAA*AAA', /^image is not base64/],
    ['text after the padding', 'AA==AAAA', /^image is not base64/],
    ['padding of a full group', 'AAAA=', /^image is not base64/],
    ['too much padding', 'A===', /^image is not base64/],
    ['one letter of a group', 'AAAAA', /^image is not base64/],
    ['a URL', 'https://example.com/a.png', /this server fetches nothing$/],
    ['a file URL', 'file:///etc/passwd', /this server fetches nothing$/],
    ['a data URL of another encoding', 'data:image/svg+xml,%3Csvg/%3E', /must be a data: URL in base64/],
    ['a data URL without data', `data:${'x'.repeat(400)}`, /must be a data: URL in base64/]
  ])('refuses %s', async (_what, text, message) => {
    for (const size of [1, 3, 1000])
      await expect(decoded(text, [size])).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
        field: 'image',
        message: expect.stringMatching(message)
      })
  })
})
