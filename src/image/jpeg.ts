import { createHash } from 'node:crypto'

const APP0 = 0xe0
const APP1 = 0xe1

/** Maximum payload of a segment: the 16-bit length field also counts its own two bytes. */
const MAX_SEGMENT = 65_533

export const EXIF_MARK = Buffer.from('Exif\0\0', 'latin1')
export const XMP_MARK = Buffer.from('http://ns.adobe.com/xap/1.0/\0', 'latin1')
export const EXTENSION_MARK = Buffer.from('http://ns.adobe.com/xmp/extension/\0', 'latin1')
/** Header bytes of an extended XMP segment: mark, hex digest, total length, offset of this part. */
export const EXTENSION_HEAD = EXTENSION_MARK.length + 32 + 4 + 4

/** The property by which the main packet refers to its extension, by digest. */
export const HAS_EXTENDED = 'xmpNote:HasExtendedXMP'

/**
 * Inserts EXIF and XMP after the JFIF header of a JPEG file that has neither.
 *
 * Splits an XMP packet that exceeds one segment into extended XMP segments. libvips silently drops such a packet.
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
