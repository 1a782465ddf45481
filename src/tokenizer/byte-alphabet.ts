/**
 * The printable characters that stand for bytes in a byte-level vocabulary. A byte that is a visible Latin-1 character
 * stands for itself; the others map in order to U+0100 and up.
 * Source: https://github.com/openai/CLIP/blob/dcba3cb2e2827b402d2701e7e1c7d9fed8a20ef1/clip/simple_tokenizer.py#L17
 */

/** The character for each byte, indexed by the byte. */
export const BYTE_ALPHABET: readonly string[] = alphabet()

function alphabet(): string[] {
  let next = 0x1_00
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isVisible(byte) ? byte : next++))
}

function isVisible(byte: number): boolean {
  return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
}
