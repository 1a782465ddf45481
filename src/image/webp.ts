const EXIF_FLAG = 0x08
const XMP_FLAG = 0x04

/**
 * Adds EXIF and XMP to a WebP file in the simple format, which sharp writes for images without transparency.
 *
 * @see https://developers.google.com/speed/webp/docs/riff_container#extended_file_format
 */
export function webpWith(
  webp: Buffer,
  { width, height, exif, xmp }: { width: number; height: number; exif: Buffer; xmp: string }
): Buffer {
  const features = Buffer.alloc(10)
  features[0] = EXIF_FLAG | XMP_FLAG
  features.writeUIntLE(width - 1, 4, 3)
  features.writeUIntLE(height - 1, 7, 3)
  const picture = webp.subarray(12)
  const content = Buffer.concat([
    Buffer.from('WEBP'),
    chunk('VP8X', features),
    picture,
    chunk('EXIF', exif),
    chunk('XMP ', Buffer.from(xmp))
  ])
  const head = Buffer.from('RIFF\0\0\0\0', 'latin1')
  head.writeUInt32LE(content.length, 4)
  return Buffer.concat([head, content])
}

function chunk(type: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.write(type, 'latin1')
  head.writeUInt32LE(data.length, 4)
  // Chunks start at even offsets.
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)])
}
