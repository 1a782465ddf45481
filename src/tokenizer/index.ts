export { ClipTokenizer, type Encoded, type Tokens, type WordMemo } from './clip-tokenizer.js'
export { SdxlTokenizers, type SdxlEncoded } from './sdxl-tokenizers.js'
export { SharedParts } from './shared-parts.js'
