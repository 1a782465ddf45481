export { ClipTokenizer, type Encoded } from './clip-tokenizer.js'
export { SdxlTokenizers, type SdxlEncoded } from './sdxl-tokenizers.js'
export { SharedParts } from './shared-parts.js'
