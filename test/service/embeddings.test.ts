import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { embeddingNames, recipeEmbeddings } from '../../src/service/embeddings.js'
import { type PromptFields, tokenizePrompts } from '../../src/service/prompt-job.js'
import { countTokens } from '../../src/service/tokenize.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import type { Embedding } from '../../src/workers/protocol.js'
import { plainPrompt } from '../support/prompts.js'
import { modelFolder } from '../tokenizer/support.js'

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
const FIRST_ID = 49_408
const digest = (letter: string) => letter.repeat(64)
const embedding = (name: string, letter: string, vectors: number): Embedding => ({
  name,
  digest: digest(letter),
  vectors
})
const embeddings = [embedding('anime', 'a', 4), embedding('bad-hands', 'b', 2), embedding('zz/ink', 'c', 3)]
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9, max_chunks: 3 }
const able = { features: ['prompt_weights', 'embeddings'], limits, comingFeatures: [], comingMaxChunks: 3, embeddings }
const jobOf = (changes: Partial<PromptFields>, model = able) =>
  tokenizePrompts({ ...plainPrompt, ...changes }, tokenizers, model, false).job
const failure = (work: () => unknown) => {
  try {
    work()
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(EaselError)
    const { code, message, field } = error as EaselError
    return { code, message, field }
  }
}

describe('a job', () => {
  it('has the embeddings that its prompts name, with ids that follow one another', () => {
    const job = jobOf({ prompt: 'an Ink fox', negative_prompt: 'bad-hands' })
    expect(job.embeddings).toEqual([
      { name: 'bad-hands', digest: digest('b'), first_id: FIRST_ID },
      { name: 'zz/ink', digest: digest('c'), first_id: FIRST_ID + 2 }
    ])
    expect(job.pooled_at_end).toBeUndefined()
    expect(job.prompt.ids.slice(2, 6)).toEqual([FIRST_ID + 2, FIRST_ID + 3, FIRST_ID + 4, 3240])
    expect(job.negative!.ids_2.slice(1, 3)).toEqual([FIRST_ID, FIRST_ID + 1])
  })

  it('is the same whatever other embeddings there are, and without any as it ever was', () => {
    const prompt = 'an ink fox'
    const alone = { ...able, embeddings: [embeddings[2]!] }
    expect(jobOf({ prompt }, alone)).toEqual(jobOf({ prompt }))
    expect(jobOf({})).toEqual(jobOf({}, { ...able, embeddings: [] }))
  })

  it.each(['a1111', 'compel'] as const)('in the syntax %s has the weight on all vectors', (prompt_syntax) => {
    const {
      prompt,
      embeddings: used,
      pooled_at_end
    } = jobOf({ prompt: '(an anime)1.5'.replace(')1.5', prompt_syntax === 'a1111' ? ':1.5)' : ')1.5'), prompt_syntax })
    expect(used).toMatchObject([{ name: 'anime', first_id: FIRST_ID }])
    expect(prompt.ids.slice(2, 6)).toEqual([0, 1, 2, 3].map((index) => FIRST_ID + index))
    expect(prompt.weights!.slice(0, 7)).toEqual([1, 1.5, 1.5, 1.5, 1.5, 1.5, 1])
    expect(pooled_at_end).toBe(prompt_syntax === 'a1111' ? true : undefined)
  })

  it('pools the text as it is written for compel, with its embeddings', () => {
    const { prompt } = jobOf({ prompt: '(fox)1.2 ink', prompt_syntax: 'compel' })
    expect(prompt.pooled_ids_2!.filter((id) => id >= FIRST_ID)).toEqual([0, 1, 2].map((index) => FIRST_ID + index))
  })

  it('counts vectors as tokens, and is refused where they do not fit', () => {
    const { usage } = tokenizePrompts({ ...plainPrompt, prompt: 'a fox ink' }, tokenizers, able, false).report
    expect(usage.tokens).toEqual({ prompt: 5 })
    expect(failure(() => jobOf({ prompt: 'anime '.repeat(19) }))).toMatchObject({
      code: 'PROMPT_TOO_LONG',
      message: expect.stringContaining('has 78 tokens')
    })
  })

  it('has at most 64 embeddings', () => {
    const many = Array.from({ length: 65 }, (_, index) =>
      embedding(`qq${String.fromCodePoint(0x4e_00 + index)}`, 'd', 1)
    )
    const prompt = many.map(({ name }) => name).join(' ')
    expect(failure(() => jobOf({ prompt }, { ...able, embeddings: many }))).toEqual({
      code: 'LIMIT_EXCEEDED',
      field: 'prompt',
      message: 'prompt must have at most 64 different embeddings'
    })
    expect(jobOf({ prompt: prompt.slice(4) }, { ...able, embeddings: many }).embeddings).toHaveLength(64)
  })
})

describe('a request that lists embeddings', () => {
  it('has only those as names', () => {
    expect(jobOf({ prompt: 'anime ink', embeddings: [{ name: 'zz/ink', digest: digest('c') }] }).embeddings).toEqual([
      { name: 'zz/ink', digest: digest('c'), first_id: FIRST_ID }
    ])
    expect(jobOf({ prompt: 'anime ink', embeddings: [] })).toEqual(
      jobOf({ prompt: 'anime ink' }, { ...able, embeddings: [] })
    )
  })

  it('is refused if one is not there, or is another file', () => {
    const listed = (each: { name: string; digest?: string }, having = embeddings) =>
      failure(() => embeddingNames({ embeddings: [each] }, { embeddings: having }, tokenizers))
    expect(listed({ name: 'gone' })).toEqual({
      code: 'UNSUPPORTED_EMBEDDING',
      field: 'embeddings',
      message: 'embeddings: there is no embedding "gone"; there are anime, bad-hands, zz/ink'
    })
    expect(listed({ name: 'gone' }, [])?.message).toBe(
      'embeddings: there is no embedding "gone": this server has none; its operator sets EMBEDDINGS'
    )
    expect(listed({ name: 'anime', digest: digest('0') })?.message).toBe(
      `embeddings: the embedding anime is another file now: its digest is ${digest('a')}. Leave digest out to use that one`
    )
  })
})

describe('a recipe', () => {
  it('states the embeddings, and that there are none only where there could be some', () => {
    const used = [{ name: 'ink', digest: digest('c'), first_id: FIRST_ID }]
    expect(recipeEmbeddings({ embeddings: used }, able)).toEqual({ embeddings: [{ name: 'ink', digest: digest('c') }] })
    expect(recipeEmbeddings({}, able)).toEqual({ embeddings: [] })
    expect(recipeEmbeddings({}, { features: [] })).toEqual({})
  })
})

describe('counting tokens', () => {
  it('names the embeddings of each text', () => {
    const options = { syntax: 'a1111', maxChunks: 3, comingMaxChunks: 3, embeddings } as const
    expect(countTokens({ prompt: 'an (ink:1.2) fox', negative_prompt: 'fog' }, options, tokenizers)).toMatchObject({
      prompt: { tokens: 5, embeddings: ['zz/ink'] },
      negative_prompt: expect.not.objectContaining({ embeddings: expect.anything() })
    })
  })
})
