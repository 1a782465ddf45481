import type { PromptReport } from '../../src/service/prompt-job.js'

/** The report of a run that has no prompts. */
export const noPrompts: PromptReport = { truncated: [], warnings: [], usage: { chunks: 1, tokens: {}, total: 0 } }
