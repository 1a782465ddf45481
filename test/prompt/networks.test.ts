import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parsePrompt } from '../../src/prompt/index.js'
import { readNetworks } from '../../src/prompt/networks.js'
import { expectLinear } from '../support/linear.js'

const text = fc
  .string({ unit: fc.constantFrom('a', ' ', ',', '(', ')', '>', '<', 'é') })
  .map((part) => part.replaceAll('<', '< '))
const weight = fc.double({ min: -9, max: 9, noNaN: true }).map((value) => Number(value.toFixed(3)) + 0)
const tag = fc
  .record({
    name: fc.stringMatching(/^[\w/ .-]{1,12}$/),
    te: weight,
    unet: fc.option(weight),
    form: fc.constantFrom('place', 'name')
  })
  .map(({ name, te, unet, form }) => {
    const written = unet === null ? `${te}` : form === 'place' ? `${te}:${unet}` : `unet=${unet}:te=${te}`
    return { written: `<lora:${name}:${written}>`, name, text_weight: te, unet_weight: unet ?? te }
  })

describe('LoRAs in a prompt', () => {
  it('are separated from the text around them', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(text, tag), { maxLength: 5 }), text, (parts, last) => {
        const prompt = parts.map(([before, { written }]) => before + written).join('') + last
        const { rest, loras } = readNetworks(prompt, false)
        expect(rest.text).toBe(parts.map(([before]) => before).join('') + last)
        expect(rest.starts.map((at) => prompt[at]).join('')).toBe(rest.text)
        expect(loras).toMatchObject(
          parts.map(([, { name, text_weight, unet_weight }]) => ({ name, text_weight, unet_weight }))
        )
      })
    )
  })

  it('have weight 1 unless they say another', () => {
    const one = (written: string) => readNetworks(written, false).loras[0]
    expect(one('<lora:x>')).toMatchObject({ name: 'x', text_weight: 1, unet_weight: 1 })
    expect(one('<lyco:x:0.5>')).toMatchObject({ text_weight: 0.5, unet_weight: 0.5 })
    expect(one('<lora:x:te=0.5>')).toMatchObject({ text_weight: 0.5, unet_weight: 0.5 })
    expect(one('<lora:x:unet=0.5>')).toMatchObject({ text_weight: 1, unet_weight: 0.5 })
  })

  it('do not reach the text encoders', () => {
    expect(parsePrompt('a (red<lora:x:0.8>:1.3) circle <lora:y>', 'a1111', false)).toMatchObject([
      { text: 'a ', weight: 1 },
      { text: 'red', weight: 1.3 },
      { text: ' circle ', weight: 1 }
    ])
  })

  it('cost time in proportion to the length of the prompt', () => {
    for (const part of ['<lora:a', '<a:', '<lora:a:1>', '<'])
      expectLinear(
        (length) => part.repeat(length / part.length),
        80_000,
        (prompt) => void readNetworks(prompt, false)
      )
  })
})
