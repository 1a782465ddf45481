import { fill, newCanvas, pngOf } from './canvas.js'
import type { Rect, Size } from './picture-file.js'

/** Side of the tiny copy of the picture whose enlargement is the blurred ground of what is empty. */
const GROUND = 12

/**
 * Makes the files of a picture that is placed in a larger frame: the frame, whose empty part has the picture's blurred
 * colours, and the mask, white where it is empty. Without a mask if nothing is.
 */
export async function extendedFiles(
  picture: HTMLImageElement,
  { x, y, width, height }: Rect,
  frame: Size
): Promise<{ image: Blob; mask: Blob | undefined }> {
  const [tiny, tinyContext] = newCanvas({ width: GROUND, height: GROUND })
  tinyContext.drawImage(picture, 0, 0, GROUND, GROUND)
  const [canvas, context] = newCanvas(frame)
  context.imageSmoothingQuality = 'high'
  context.drawImage(tiny, 0, 0, frame.width, frame.height)
  context.drawImage(picture, x, y, width, height)
  if (width >= frame.width && height >= frame.height) return { image: await pngOf(canvas), mask: undefined }
  const [masked, maskContext] = newCanvas(frame)
  fill(maskContext, 'white')
  maskContext.fillStyle = 'black'
  maskContext.fillRect(x, y, width, height)
  return { image: await pngOf(canvas), mask: await pngOf(masked) }
}
