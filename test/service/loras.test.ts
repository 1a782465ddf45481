import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { lorasOf } from '../../src/service/loras.js'
import type { Lora } from '../../src/workers/protocol.js'

const digest = (letter: string) => letter.repeat(64)
const lora = (name: string, letter: string): Lora => ({ name, digest: digest(letter), kind: 'lora' })
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9, max_loras: 2 }
const model = { limits, loras: [lora('cute', 'a'), lora('style/ink', 'b'), lora('style/oil', 'c'), lora('x/oil', 'd')] }
const request = { prompt: 'a fox', prompt_syntax: 'a1111' } as const
const failure = (fields: Partial<Parameters<typeof lorasOf>[0]>, having = model) => {
  try {
    lorasOf({ ...request, ...fields }, having)
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(EaselError)
    const { code, message, field } = error as EaselError
    return { code, message, field }
  }
}

describe('lorasOf', () => {
  it('has the digest of each, and weight 1 unless the request states another', () => {
    const loras = [{ name: 'cute' }, { name: 'style/ink', weight: 0.5, text_weight: 0 }]
    expect(lorasOf({ ...request, loras }, model)).toEqual([
      { name: 'cute', digest: digest('a'), unet_weight: 1, text_weight: 1 },
      { name: 'style/ink', digest: digest('b'), unet_weight: 0.5, text_weight: 0 }
    ])
  })

  it('reads those that a prompt in the syntax a1111 names, and only there', () => {
    const prompt = 'a fox <lora:cute:-0.5>'
    expect(lorasOf({ ...request, prompt }, model)).toMatchObject([{ name: 'cute', unet_weight: -0.5 }])
    expect(lorasOf({ ...request, prompt_2: prompt }, model)).toMatchObject([{ name: 'cute' }])
    expect(lorasOf({ ...request, prompt, prompt_syntax: 'plain' }, model)).toEqual([])
  })

  it('gives the same for its own result beside the prompt, as a recipe has it', () => {
    const asked = { ...request, prompt: 'a fox <lora:cute:0.5:0.25>', loras: [{ name: 'ink', weight: 0.75 }] }
    const used = lorasOf(asked, model)
    expect(used).toHaveLength(2)
    expect(lorasOf({ ...asked, loras: used }, model)).toEqual(used)
  })

  it('finds a LoRA by the last part of its name if only one has it', () => {
    expect(lorasOf({ ...request, loras: [{ name: 'ink' }] }, model)).toMatchObject([{ name: 'style/ink' }])
    expect(failure({ loras: [{ name: 'oil' }] })).toEqual({
      code: 'UNSUPPORTED_LORA',
      field: 'loras',
      message: 'loras: "oil" could be style/oil, x/oil: write the whole name'
    })
  })

  it('leaves out one without effect', () => {
    expect(lorasOf({ ...request, loras: [{ name: 'cute', weight: 0 }] }, model)).toEqual([])
  })

  it('refuses a LoRA that is not there, and a file other than the one wanted', () => {
    expect(failure({ prompt: 'a <lora:gone:1>' })).toEqual({
      code: 'UNSUPPORTED_LORA',
      field: 'prompt',
      message: 'prompt: there is no LoRA "gone"; there are cute, style/ink, style/oil, x/oil'
    })
    expect(failure({ loras: [{ name: 'gone' }] }, { ...model, loras: [] })?.message).toBe(
      'loras: there is no LoRA "gone": this server has none; its operator sets LORAS'
    )
    expect(failure({ loras: [{ name: 'cute', digest: digest('0') }] })).toEqual({
      code: 'UNSUPPORTED_LORA',
      field: 'loras',
      message: `loras: the LoRA cute is another file now: its digest is ${digest('a')}. Leave digest out to use that one`
    })
  })

  it('refuses two weights for one LoRA, more LoRAs than the workers take, and a weight out of range', () => {
    expect(failure({ prompt: '<lora:cute:1> <lora:cute:0.5>' })?.message).toBe(
      'prompt names the LoRA cute twice, with different weights: keep one'
    )
    expect(failure({ loras: ['cute', 'style/ink', 'style/oil'].map((name) => ({ name })) })).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: 'loras must be at most 2, with those that the prompt names'
    })
    expect(failure({ prompt: '<lora:cute:11>' })?.message).toBe(
      'prompt has <lora:cute:11>, whose weight must be from -10 to 10'
    )
  })
})
