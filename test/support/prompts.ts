import type { PromptFields, PromptReport } from '../../src/service/prompt-job.js'

/** The report of a run that has no prompts. */
export const noPrompts: PromptReport = { truncated: [], warnings: [], usage: { chunks: 1, tokens: {}, total: 0 } }

/** The fields of a plain prompt. */
export const plainPrompt: PromptFields = {
  prompt: 'a fox',
  negative_prompt: '',
  prompt_syntax: 'plain',
  guidance_scale: 5,
  guidance_start: 0,
  guidance_end: 1,
  num_inference_steps: 20
}
