import { describe, it } from 'vitest'
import { chunksOf } from '../../src/chunks/index.js'
import { PROMPT_SYNTAXES, PromptSyntaxError } from '../../src/prompt/index.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { ADVERSARIES } from '../prompt/support.js'
import { expectLinear } from '../support/linear.js'
import { modelFolder } from '../tokenizer/support.js'

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)

describe.each(PROMPT_SYNTAXES)('%s', (syntax) => {
  it.each(ADVERSARIES)('takes time linear in the length: %j', (piece) => {
    const make = (length: number): string => piece.repeat(length / piece.length)
    expectLinear(make, 32_000, (text) => {
      try {
        chunksOf(text, [0], { syntax, negative: false }, tokenizers)
      } catch (error) {
        if (!(error instanceof PromptSyntaxError)) throw error
      }
    })
  })
})
