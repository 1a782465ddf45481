import { fill, newCanvas, pngOf } from './canvas.js'

/** The PNG of a mask: white where the canvas is painted, black elsewhere. Undefined if nothing is painted. */
export async function maskFile(painted: HTMLCanvasElement): Promise<Blob | undefined> {
  if (isBlank(painted)) return undefined
  const [canvas, context] = newCanvas(painted)
  context.drawImage(painted, 0, 0)
  context.globalCompositeOperation = 'source-in'
  fill(context, 'white')
  context.globalCompositeOperation = 'destination-over'
  fill(context, 'black')
  return pngOf(canvas)
}

/** Paints what is white in a mask's file, in a colour. The file is brought to the canvas's size. */
export async function paintMask(file: Blob, canvas: HTMLCanvasElement, colour: string): Promise<void> {
  const bitmap = await createImageBitmap(file)
  const context = canvas.getContext('2d')!
  context.globalCompositeOperation = 'copy'
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  bitmap.close()
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height)
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at]!
  context.putImageData(pixels, 0, 0)
  context.globalCompositeOperation = 'source-in'
  fill(context, colour)
}

function isBlank(canvas: HTMLCanvasElement): boolean {
  const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
  for (let at = 3; at < data.length; at += 4) if (data[at]! >= 128) return false
  return true
}
