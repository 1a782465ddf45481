import { EaselError } from '../errors.js'
import { MAX_EMBEDDINGS } from '../parameters.js'
import type { EmbeddingNames, PlacedEmbedding, SdxlTokenizers } from '../tokenizer/index.js'
import { type Capabilities, EMBEDDINGS } from '../workers/capabilities.js'
import type { Embedding, TokenIds } from '../workers/protocol.js'
import type { Job } from '../workers/job.js'
import type { Decided } from './decisions.js'
import { fileNamed } from './named-file.js'

const EMBEDDING = { what: 'embedding', route: '/embeddings', option: 'EMBEDDINGS', short: false } as const

/** What a recipe says of an embedding. */
type Named = Pick<Embedding, 'name' | 'digest'>

/** The part of a job that its embeddings decide. */
export type EmbeddingsOfJob = Pick<Job, 'prompt' | 'negative' | 'embeddings' | 'pooled_at_end'>

/**
 * The names that a request's prompts may have: of all embeddings, or of those that it lists.
 *
 * @throws EaselError UNSUPPORTED_EMBEDDING
 */
export function embeddingNames(
  { embeddings: listed }: Pick<Decided, 'embeddings'>,
  { embeddings }: Pick<Capabilities, 'embeddings'>,
  tokenizers: SdxlTokenizers
): EmbeddingNames<Embedding> | undefined {
  if (listed === undefined) return tokenizers.namesOf(embeddings)
  const known = new Set(listed.map((wanted) => find(wanted, embeddings)))
  return tokenizers.namesOf(embeddings.filter((embedding) => known.has(embedding)))
}

function find({ name, digest }: { name: string; digest?: string }, embeddings: readonly Embedding[]): Embedding {
  const found = fileNamed(embeddings, name, EMBEDDING, unsupported)
  if (digest !== undefined && digest !== found.digest)
    throw unsupported(
      `the embedding ${name} is another file now: its digest is ${found.digest}. Leave digest out to use that one`
    )
  return found
}

function unsupported(message: string): EaselError {
  return new EaselError('UNSUPPORTED_EMBEDDING', `embeddings: ${message}`, { field: 'embeddings' })
}

/**
 * A job's prompts, and the embeddings that they have. The ids of their vectors follow one another, in order of the
 * names, so that they do not depend on what else the server has.
 *
 * @param atEnd whether the pooled embedding is always that of the end token, as in AUTOMATIC1111's web UI
 * @throws EaselError LIMIT_EXCEEDED
 */
export function withEmbeddings(
  job: Pick<Job, 'prompt' | 'negative'>,
  names: EmbeddingNames<Embedding> | undefined,
  atEnd: boolean
): EmbeddingsOfJob {
  const prompts = job.negative === null ? [job.prompt] : [job.prompt, job.negative]
  const used = names?.usedIn(
    prompts.flatMap(({ ids, ids_2, pooled_ids_2 = [] }) => [...ids, ...ids_2, ...pooled_ids_2])
  )
  if (names === undefined || used === undefined || used.length === 0) return job
  if (used.length > MAX_EMBEDDINGS)
    throw new EaselError('LIMIT_EXCEEDED', `prompt must have at most ${MAX_EMBEDDINGS} different embeddings`, {
      field: 'prompt'
    })
  const renumbered = new Map<number, number>()
  const embeddings = used.map(({ embedding: { name, digest }, ids }) => {
    const first_id = names.firstId + renumbered.size
    for (const id of ids) renumbered.set(id, names.firstId + renumbered.size)
    return { name, digest, first_id }
  })
  return {
    prompt: renumber(job.prompt, renumbered),
    negative: job.negative === null ? null : renumber(job.negative, renumbered),
    embeddings,
    ...(atEnd ? { pooled_at_end: true } : {})
  }
}

function renumber(tokens: TokenIds, ids: ReadonlyMap<number, number>): TokenIds {
  const changed = (list: readonly number[]) => list.map((id) => ids.get(id) ?? id)
  const { pooled_ids_2: pooled } = tokens
  return {
    ...tokens,
    ids: changed(tokens.ids),
    ids_2: changed(tokens.ids_2),
    ...(pooled === undefined ? {} : { pooled_ids_2: changed(pooled) })
  }
}

/**
 * What the recipe says: the embeddings that the prompts have. An empty list says that no word is the name of one,
 * whatever files come later; without the feature no word ever was.
 */
export function recipeEmbeddings(
  { embeddings = [] }: Pick<Job, 'embeddings'>,
  { features }: Pick<Capabilities, 'features'>
): { embeddings?: Named[] } {
  if (!features.includes(EMBEDDINGS)) return {}
  return { embeddings: embeddings.map(({ name, digest }) => ({ name, digest })) }
}

/** The names of embeddings that a text's tokens have. */
export function namesIn(ids: readonly number[], names: EmbeddingNames<Embedding> | undefined): string[] {
  return names?.usedIn(ids).map(({ embedding }: PlacedEmbedding<Embedding>) => embedding.name) ?? []
}
