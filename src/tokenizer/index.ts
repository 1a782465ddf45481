export { ClipTokenizer, type Encoded, type Tokens, type WordMemo } from './clip-tokenizer.js'
export { SdxlTokenizers, type SdxlEncoded } from './sdxl-tokenizers.js'
export { EmbeddingNames, type NamedEmbedding, type PlacedEmbedding } from './embedding-names.js'
export { SharedParts } from './shared-parts.js'
