import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_CONTROLS } from '../../src/parameters.js'
import { withEntryPictures } from '../../src/uploads/entries.js'
import { readJson } from '../../src/uploads/json.js'
import { entryField, fieldNameOf } from '../../src/uploads/picture-field.js'
import type { Upload, Uploads } from '../../src/uploads/store.js'
import { inPieces, pieceSizes, sha256, Taken } from './support.js'

const paths = {
  image: 'image',
  'controls.*.image': { list: 'controls' },
  'ip_adapters.*.image': { list: 'ip_adapters' },
  'scripts.net.args.*.image.image': { list: 'controls', most: 4 }
} as const

async function read(text: string, sizes: number[]) {
  const uploads = new Taken()
  const kept = await readJson(inPieces(Buffer.from(text), sizes), { paths, onText: () => undefined, uploads })
  return { kept: JSON.parse(kept.toString()) as unknown, files: uploads.files }
}

const picture = fc.uint8Array({ minLength: 1, maxLength: 60 })
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')

describe('pictures of lists in JSON', () => {
  it('are stored by their index, wherever the body is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(picture, { maxLength: MAX_CONTROLS }),
        fc.array(picture, { maxLength: 1 }),
        picture,
        pieceSizes,
        async (controls, adapters, image, sizes) => {
          const entries = (files: Uint8Array[]) =>
            files.map((file, i) => ({ name: `n${i}`, image: base64(file), more: [1] }))
          const body = { image: base64(image), controls: entries(controls), ip_adapters: entries(adapters) }
          const { kept, files } = await read(JSON.stringify(body), sizes)
          const digests = (list: Uint8Array[]) =>
            list.map((file, i) => ({ name: `n${i}`, image: sha256(Buffer.from(file)), more: [1] }))
          expect(kept).toEqual({
            image: sha256(Buffer.from(image)),
            controls: digests(controls),
            ip_adapters: digests(adapters)
          })
          expect([...files.keys()].toSorted()).toEqual(
            [
              'image',
              ...controls.map((_, i) => entryField('controls', i)),
              ...adapters.map((_, i) => entryField('ip_adapters', i))
            ].toSorted()
          )
        }
      )
    )
  })

  it('are found as deep as the ControlNet extension has them', async () => {
    const body = { scripts: { net: { args: [null, { image: { image: 'AAAA', mask: 'BBBB' } }] } } }
    const { kept, files } = await read(JSON.stringify(body), [7])
    expect([...files.keys()]).toEqual(['controls[1].image'])
    expect(kept).toMatchObject({ scripts: { net: { args: [null, { image: { mask: 'BBBB' } }] } } })
  })

  it('end the body at the first one too many, so that a body stores no more', async () => {
    const body = { controls: Array.from({ length: 10_000 }, () => ({ image: 'AAAA' })) }
    const uploads = new Taken()
    const reading = readJson(inPieces(Buffer.from(JSON.stringify(body)), [99]), {
      paths,
      onText: () => undefined,
      uploads
    })
    await expect(reading).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls',
      message: 'controls must have at most 2 pictures'
    })
    expect(uploads.files.size).toBe(2)
    expect(() => fieldNameOf({ list: 'ip_adapters' }, 1)).toThrow('ip_adapters must have at most 1 pictures')
  })
})

describe('withEntryPictures', () => {
  const uploads = (...fields: string[]): Pick<Uploads, 'get'> => ({
    get: (field) => (fields.includes(field) ? ({ field, sha256: `sha of ${field}` } as Upload) : undefined)
  })

  it('leaves the values of a form alone that has no such pictures', () => {
    const values = { prompt: 'x', controls: [{ name: 'a' }], ip_adapters: 'text' }
    expect(withEntryPictures(values, uploads('image'))).toEqual(values)
  })

  it('puts each digest into its entry, and changes nothing that it was given', () => {
    const values = { controls: [{ name: 'a' }, { name: 'b' }, 7], 'controls[0].image': 'sha' }
    const before = structuredClone(values)
    expect(withEntryPictures(values, uploads('controls[0].image', 'controls[1].image'))).toEqual({
      controls: [{ name: 'a', image: 'sha of controls[0].image' }, { name: 'b', image: 'sha of controls[1].image' }, 7]
    })
    expect(values).toEqual(before)
  })
})
