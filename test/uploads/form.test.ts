import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readForm } from '../../src/uploads/form.js'
import { atMost, inPieces, pieceSizes, sha256, Taken } from './support.js'

const pictures = { image: 'image', 'image[]': 'image', mask: 'mask_image' }

async function read(body: string | Uint8Array, { type, sizes = [50] }: { type: string; sizes?: number[] }) {
  const uploads = new Taken()
  const fields = await readForm(inPieces(Buffer.from(body as Uint8Array), sizes), type, {
    pictures,
    onText: atMost(5000),
    uploads
  })
  return { fields: Object.fromEntries(fields), files: uploads.files }
}

/** A form as Node's fetch sends it. */
async function sent(form: FormData): Promise<{ body: Buffer; type: string }> {
  const request = new Request('http://x', { method: 'POST', body: form })
  return { body: Buffer.from(await request.arrayBuffer()), type: request.headers.get('content-type')! }
}

const part = (name: string, text: string, head = '') =>
  `--b\r\nContent-Disposition: form-data; name="${name}"${head}\r\n\r\n${text}\r\n`
const type = 'multipart/form-data; boundary=b'

describe('a form', () => {
  it('gives its texts, and stores its pictures, in any pieces', async () => {
    const texts = fc.dictionary(
      fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
        .filter((name) => !/[\r\n"\\]/.test(name) && !Object.hasOwn(pictures, name)),
      fc.string({ unit: 'grapheme', maxLength: 60 })
    )
    await fc.assert(
      fc.asyncProperty(texts, fc.uint8Array({ maxLength: 500 }), pieceSizes, async (texts, bytes, sizes) => {
        const form = new FormData()
        for (const [name, text] of Object.entries(texts)) form.append(name, text)
        form.append('image[]', new Blob([Buffer.from(bytes)], { type: 'image/png' }), 'a.png')
        const { body, type } = await sent(form)
        const { fields, files } = await read(body, { type, sizes })
        const expected = Object.entries(texts).map(([name, text]) => [name, text.replaceAll(/\r\n?|\n/g, '\r\n')])
        expect(fields).toEqual({ ...Object.fromEntries(expected), image: sha256(bytes) })
        expect(files.get('image')!.equals(bytes)).toBe(true)
      })
    )
  })

  it('takes a picture without a file name or type', async () => {
    const { fields, files } = await read(`${part('mask', 'bytes')}--b--\r\n`, { type })
    expect([fields['mask_image'], files.get('mask_image')!.toString()]).toEqual([sha256(Buffer.from('bytes')), 'bytes'])
  })

  it.each([
    ['a second picture of a field', part('image', 'a') + part('image[]', 'b'), 'INVALID_REQUEST', /more than once/],
    ['a second text of a name', part('n', '1') + part('n', '2'), 'INVALID_REQUEST', /^n is given more than once/],
    [
      'texts above the limit together',
      part('a', 'x'.repeat(3000)) + part('b', 'x'.repeat(3000)),
      'BODY_TOO_LARGE',
      /5000/
    ],
    [
      'too many parts',
      Array.from({ length: 150 }, (_, i) => part(`p${i}`, '')).join(''),
      'INVALID_REQUEST',
      /100 parts/
    ],
    ['a part without a name', '--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n', 'INVALID_REQUEST', /no name/],
    [
      'bytes that are not UTF-8',
      Buffer.concat([Buffer.from(part('a', 'x').slice(0, -3)), Buffer.from([0xff]), Buffer.from('\r\n')]),
      'INVALID_REQUEST',
      /not UTF-8/
    ],
    ['no form', 'hello', 'INVALID_REQUEST', /malformed/]
  ])('is refused with %s', async (_what, body, code, message) => {
    const whole = Buffer.concat([Buffer.from(body as string), Buffer.from('--b--\r\n')])
    for (const sizes of [[1000], [3]])
      await expect(read(whole, { type, sizes })).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message)
      })
  })

  it('is refused if it ends early, wherever', async () => {
    const whole = Buffer.from(`${part('a', 'text')}${part('image', 'bytes', '; filename="x"')}--b--`)
    for (let end = 0; end < whole.length; end++)
      await expect(read(whole.subarray(0, end), { type, sizes: [7] }), String(end)).rejects.toMatchObject({
        code: 'INVALID_REQUEST'
      })
    expect((await read(whole, { type })).files.size).toBe(1)
  })

  it('is refused without a boundary', async () => {
    await expect(read('', { type: 'multipart/form-data' })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'content-type'
    })
  })

  it('of any bytes ends with fields or a refusal', async () => {
    const noise = fc.array(
      fc.oneof(
        fc.constantFrom(
          '--b',
          '\r\n',
          '--b--',
          'Content-Disposition: form-data; name="image"',
          ': ',
          'x',
          '\r\n\r\n',
          part('image', 'x')
        ),
        fc.string({ maxLength: 20 })
      ),
      { maxLength: 30 }
    )
    await fc.assert(
      fc.asyncProperty(noise, pieceSizes, async (noise, sizes) => {
        try {
          await read(noise.join(''), { type, sizes })
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_REQUEST' })
        }
      }),
      { numRuns: 300 }
    )
  })
})
