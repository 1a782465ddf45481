import { createHash } from 'node:crypto'

const APP0 = 0xe0
const APP1 = 0xe1

/** Most bytes of a segment after its length field, which counts itself. */
const MAX_SEGMENT = 65_533

export const EXIF_MARK = Buffer.from('Exif\0\0', 'latin1')
export const XMP_MARK = Buffer.from('http://ns.adobe.com/xap/1.0/\0', 'latin1')
export const EXTENSION_MARK = Buffer.from('http://ns.adobe.com/xmp/extension/\0', 'latin1')
/** Bytes before the data of a part of extended XMP: the mark, the digest in hex, the length of the whole, the part's place. */
export const EXTENSION_HEAD = EXTENSION_MARK.length + 32 + 4 + 4

/** How a packet names the extended one that belongs to it. */
export const HAS_EXTENDED = 'xmpNote:HasExtendedXMP'

/**
 * Writes EXIF and XMP into a JPEG file that has neither, after its JFIF header.
 *
 * An XMP packet that is longer than a segment is written as extended XMP, in as many segments as it takes. libvips leaves
 * such a packet out without a word.
 *
 * @see https://github.com/adobe/XMP-Toolkit-SDK/blob/main/docs/XMPSpecificationPart3.pdf (1.1.3)
 */
export function jpegWith(jpeg: Buffer, { exif, xmp }: { exif: Buffer; xmp: string }): Buffer {
  const head = jpeg[3] === APP0 ? 4 + jpeg.readUInt16BE(4) : 2
  return Buffer.concat([
    jpeg.subarray(0, head),
    segment(EXIF_MARK, exif),
    ...xmpSegments(Buffer.from(xmp)),
    jpeg.subarray(head)
  ])
}

function xmpSegments(packet: Buffer): Buffer[] {
  if (XMP_MARK.length + packet.length <= MAX_SEGMENT) return [segment(XMP_MARK, packet)]
  const digest = createHash('md5').update(packet).digest('hex').toUpperCase()
  const main = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" ${HAS_EXTENDED}="${digest}"/></rdf:RDF></x:xmpmeta>`
  const parts: Buffer[] = []
  const step = MAX_SEGMENT - EXTENSION_HEAD
  for (let at = 0; at < packet.length; at += step) {
    const numbers = Buffer.alloc(8)
    numbers.writeUInt32BE(packet.length)
    numbers.writeUInt32BE(at, 4)
    parts.push(segment(EXTENSION_MARK, Buffer.from(digest), numbers, packet.subarray(at, at + step)))
  }
  return [segment(XMP_MARK, Buffer.from(main)), ...parts]
}

function segment(...parts: readonly Buffer[]): Buffer {
  const data = Buffer.concat(parts)
  const head = Buffer.from([0xff, APP1, 0, 0])
  head.writeUInt16BE(data.length + 2, 2)
  return Buffer.concat([head, data])
}
