import { describe, expect, it } from 'vitest'
import { type PromptFields, tokenizePrompts } from '../../src/service/prompt-job.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { plainPrompt } from '../support/prompts.js'
import { modelFolder } from '../tokenizer/support.js'

type Abilities = Parameters<typeof tokenizePrompts>[2]

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
const [first, second] = tokenizers.tokenizers
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9, max_chunks: 3 }
const able: Abilities = {
  features: ['prompt_weights'],
  limits,
  comingFeatures: [],
  comingMaxChunks: 3,
  embeddings: []
}

const read = (fields: Partial<PromptFields>, model: Abilities = able, truncate = false) =>
  tokenizePrompts({ ...plainPrompt, ...fields }, tokenizers, model, truncate)
const idsOf = (text: string) => {
  const { ids, ids_2 } = tokenizers.encode(text)
  return { ids, ids_2 }
}
const failure = (fields: Partial<PromptFields>, model?: Abilities): unknown => {
  try {
    read(fields, model)
    return undefined
  } catch (error) {
    const { code, field, message } = error as { code: string; field: string; message: string }
    return { code, field, message }
  }
}
const words = (count: number) => Array.from({ length: count }, (_, index) => 'abcdefgh'[index % 8]).join(' ')

describe('plain prompts', () => {
  it('are the ids of the tokenizers, with no negative prompt for an empty one', () => {
    expect(read({})).toEqual({
      job: { prompt: idsOf('a fox'), negative: null },
      report: { truncated: [], warnings: [], usage: { chunks: 1, tokens: { prompt: 2 }, total: 4 } }
    })
    expect(read({ negative_prompt: 'fog' }).job.negative).toEqual(idsOf('fog'))
  })

  it('may have another text for the second text encoder', () => {
    const { job, report } = read({ prompt_2: 'an oil painting', negative_prompt: 'fog', negative_prompt_2: 'a sketch' })
    expect(job.prompt).toEqual({ ids: idsOf('a fox').ids, ids_2: idsOf('an oil painting').ids_2 })
    expect(job.negative).toEqual({ ids: idsOf('fog').ids, ids_2: idsOf('a sketch').ids_2 })
    expect(report.usage.tokens).toEqual({ prompt: 2, prompt_2: 3, negative_prompt: 1, negative_prompt_2: 2 })
  })

  it('take an empty second text for none, as diffusers does', () => {
    expect(read({ prompt_2: '', negative_prompt_2: '' }).job).toEqual(read({}).job)
  })

  it('have the empty text as negative prompt if asked for, or if the second encoder has a text', () => {
    expect(read({ force_zeros_for_empty_prompt: false }).job.negative).toEqual(idsOf(''))
    expect(read({ negative_prompt_2: 'fog' }).job.negative).toEqual({ ids: idsOf('').ids, ids_2: idsOf('fog').ids_2 })
  })

  it('longer than the text encoders are refused with the syntax that reads them, or cut', () => {
    const prompt = words(80)
    const expected = `prompt has 82 tokens, including start and end tokens; the model takes 77. It would be cut after ${JSON.stringify(prompt.slice(120, 150))}, before ${JSON.stringify(prompt.slice(150))}. Shorten it, send "truncate": true, or send "prompt_syntax": "a1111", which takes 225 tokens`
    expect(failure({ prompt })).toEqual({ code: 'PROMPT_TOO_LONG', field: 'prompt', message: expected })
    const old = { ...able, features: [], limits: { ...limits, max_chunks: 1 }, comingMaxChunks: 1 }
    expect(failure({ prompt }, old)).toMatchObject({ message: expect.stringMatching(/send "truncate": true$/) })
    const { job, report } = read({ prompt }, able, true)
    expect(job.prompt).toEqual(idsOf(prompt))
    expect(report).toMatchObject({ truncated: ['prompt'], usage: { chunks: 1, tokens: { prompt: 80 } } })
    expect(failure({ prompt_2: prompt })).toMatchObject({ field: 'prompt_2' })
    expect(failure({ negative_prompt: prompt })).toMatchObject({ field: 'negative_prompt' })
  })

  it('that look weighted are painted as they are, with a warning', () => {
    const { job, report } = read({ prompt: 'a (red:1.3) fox', negative_prompt: '((fog))' })
    expect(job.prompt).toEqual(idsOf('a (red:1.3) fox'))
    expect(report.warnings).toEqual([
      'prompt has (red:1.3), which is painted as text: send "prompt_syntax": "a1111" or "compel" to have it read',
      'negative_prompt has ((fog)), which is painted as text: send "prompt_syntax": "a1111" or "compel" to have it read'
    ])
  })
})

describe('a1111', () => {
  const syntax = { prompt_syntax: 'a1111' } as const

  it('has weights for both text encoders, and none where all are 1', () => {
    const { prompt, negative, weighting, empty } = read({
      ...syntax,
      prompt: 'a (red:1.3) fox',
      negative_prompt: 'fog'
    }).job
    const weights = [1, 1, 1.3, ...Array.from({ length: 74 }, () => 1)]
    expect(prompt).toEqual({ ...idsOf('a red fox'), weights, weights_2: weights })
    expect(negative).toEqual(idsOf('fog'))
    expect([weighting, empty]).toEqual(['a1111', undefined])
  })

  it('is the same as plain without weights', () => {
    const fields = { prompt: 'a red fox', negative_prompt: 'fog' }
    expect(read({ ...syntax, ...fields })).toEqual(read(fields))
  })

  it('takes long prompts in chunks, with the other prompt padded to as many', () => {
    const { job, report } = read({ ...syntax, prompt: 'a fox BREAK a hill', negative_prompt: 'fog' })
    const [one, two] = ['a fox', 'a hill'].map(idsOf)
    const [fog, empty] = ['fog', ''].map(idsOf)
    expect(job).toEqual({
      prompt: { ids: [...one!.ids, ...two!.ids], ids_2: [...one!.ids_2, ...two!.ids_2] },
      negative: { ids: [...fog!.ids, ...empty!.ids], ids_2: [...fog!.ids_2, ...empty!.ids_2] }
    })
    expect(report.usage).toEqual({ chunks: 2, tokens: { prompt: 4, negative_prompt: 1 }, total: 11 })
    expect(read({ ...syntax, prompt: 'a fox', negative_prompt: words(100) }).job.prompt.ids).toHaveLength(154)
  })

  it('does not make an unguided prompt longer for its negative prompt', () => {
    const fields = { ...syntax, negative_prompt: words(100) }
    const unguided = { prompt: idsOf('a fox'), negative: null }
    expect(read({ ...fields, guidance_scale: 1 }).job).toEqual(unguided)
    expect(read({ ...fields, guidance_start: 0.5, guidance_end: 0.51 }).job).toEqual(unguided)
    expect(read(fields, { ...able, features: ['guidance_embedding'] }).job).toEqual(unguided)
    expect(read(fields).job.prompt.ids).toHaveLength(154)
  })

  it('has a limit in chunks', () => {
    const prompt = words(75 * 3 + 10)
    const start = words(75 * 3).length + 1
    expect(failure({ ...syntax, prompt })).toEqual({
      code: 'PROMPT_TOO_LONG',
      field: 'prompt',
      message: `prompt has 235 tokens in 4 chunks of 75; the model takes 225 in 3. It would be cut after ${JSON.stringify(prompt.slice(start - 30, start))}, before ${JSON.stringify(prompt.slice(start))}. Shorten it, or send "truncate": true`
    })
    const cut = read({ ...syntax, prompt }, able, true)
    expect(cut.job.prompt.ids).toEqual(read({ ...syntax, prompt: words(225) }).job.prompt.ids)
    expect(cut.report.truncated).toEqual(['prompt'])
  })

  it('needs workers that apply weights, but not for text alone', () => {
    const old = { ...able, features: [], limits: { ...limits, max_chunks: 1 }, comingMaxChunks: 1 }
    expect(failure({ ...syntax, prompt: '(a fox)' }, old)).toEqual({
      code: 'UNSUPPORTED_FEATURE',
      field: 'prompt_syntax',
      message: 'prompt_syntax must be plain for this prompt: the workers do not apply weights'
    })
    expect(read({ ...syntax, prompt: String.raw`a fox \(red\)` }, old).job.prompt).toEqual(idsOf('a fox (red)'))
  })

  it('names the field with what it refuses', () => {
    expect(failure({ ...syntax, negative_prompt: '<lora:x:1>' })).toEqual({
      code: 'INVALID_REQUEST',
      field: 'negative_prompt',
      message: 'negative_prompt has <lora:x:1>, but only the prompt can name LoRAs: move it there'
    })
  })

  it('warns of a BREAK that brackets make a word', () => {
    expect(read({ ...syntax, prompt: '(a BREAK b:1.2)' }).report.warnings).toEqual([
      "prompt has BREAK inside brackets, where AUTOMATIC1111's web UI reads it as a word: close the brackets before it"
    ])
    expect(read({ ...syntax, prompt: '(a:1.2) BREAK (b)' }).report.warnings).toEqual([])
  })
})

describe('compel', () => {
  const syntax = { prompt_syntax: 'compel' } as const

  it('has the pooled ids of the text as written, the empty text, and what to hide for weights below 1', () => {
    const { job } = read({ ...syntax, prompt: 'a (red)0.5 fox++' })
    expect(job).toMatchObject({
      weighting: 'compel',
      empty: { ids: first.framed([]), ids_2: second.framed([]) },
      prompt: {
        ...idsOf('a red fox'),
        masked: [[2, 3]],
        masked_2: [[2, 3]],
        pooled_ids_2: idsOf('a (red)0.5 fox++').ids_2
      }
    })
    expect(job.prompt.weights!.slice(0, 5)).toEqual([1, 1, 0.5, 1.1 ** 2, 1])
    expect(job.negative).toBeNull()
  })

  it('is the same as plain without weights', () => {
    expect(read({ ...syntax, prompt: 'a red fox' })).toEqual(read({ prompt: 'a red fox' }))
  })

  it('refuses more weights below 1 than the workers hide', () => {
    const prompt = Array.from({ length: 33 }, (_, index) => `a (b)0.${index + 10}`).join(' ')
    expect(failure({ ...syntax, prompt })).toEqual({
      code: 'INVALID_REQUEST',
      field: 'prompt',
      message: 'prompt has more than 32 parts with a weight below 1: remove or join some'
    })
  })

  it('hides nothing that is cut off', () => {
    const prompt = `(a)0.5 ${words(240)} (b)0.5`
    expect(read({ ...syntax, prompt }, able, true).job.prompt.masked).toEqual([[1, 2]])
  })
})

describe('prompts whose programs are still being compiled', () => {
  const early: Abilities = {
    embeddings: [],
    features: [],
    limits: { ...limits, max_chunks: 1 },
    comingFeatures: ['prompt_weights'],
    comingMaxChunks: 2
  }
  const a1111 = { prompt_syntax: 'a1111' } as const

  it('are not ready, and neither is a prompt that will be cut later than now', () => {
    expect(failure({ ...a1111, prompt: words(100) }, early)).toEqual({
      code: 'NOT_READY',
      field: 'prompt',
      message:
        'prompt has 100 tokens in 2 chunks of 75, and the programs for more than 1 are still being compiled; retry later, or shorten it'
    })
    expect(failure({ ...a1111, negative_prompt: words(100) }, early)).toMatchObject({ field: 'negative_prompt' })
    expect(failure({ ...a1111, prompt: '(fox:1.2)' }, early)).toEqual({
      code: 'NOT_READY',
      field: 'prompt_syntax',
      message:
        'prompt_syntax must be plain for this prompt while the program for weights is still being compiled; retry later'
    })
    expect(() => read({ ...a1111, prompt: words(200) }, early, true)).toThrow('prompt has 200 tokens in 3 chunks')
    expect(read({ ...a1111, prompt: 'a fox' }, early).report.usage.chunks).toBe(1)
  })

  it('are refused for good if they will not fit, or if the workers will not apply weights', () => {
    expect(failure({ ...a1111, prompt: words(200) }, early)).toMatchObject({
      code: 'PROMPT_TOO_LONG',
      message: expect.stringContaining('the model takes 150 in 2') as string
    })
    const never = { ...early, comingFeatures: [] }
    expect(failure({ ...a1111, prompt: `(fox:1.2) ${words(100)}` }, never)).toMatchObject({
      code: 'UNSUPPORTED_FEATURE'
    })
  })

  it('are not the prompts of the syntax plain', () => {
    expect(read({ prompt: words(200) }, early, true).report).toMatchObject({
      truncated: ['prompt'],
      usage: { chunks: 1 }
    })
    expect(failure({ prompt: words(100) }, early)).toMatchObject({
      code: 'PROMPT_TOO_LONG',
      message: expect.stringContaining('"prompt_syntax": "a1111", which takes 150 tokens') as string
    })
  })
})
