/** The PNG of a mask: white where the canvas is painted, black elsewhere. Undefined if nothing is painted. */
export async function maskFile(painted: HTMLCanvasElement): Promise<Blob | undefined> {
  if (isBlank(painted)) return undefined
  const [canvas, context] = blankLike(painted)
  context.drawImage(painted, 0, 0)
  context.globalCompositeOperation = 'source-in'
  fill(context, 'white')
  context.globalCompositeOperation = 'destination-over'
  fill(context, 'black')
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (file) => (file === null ? reject(new Error('The mask cannot be encoded')) : resolve(file)),
      'image/png'
    )
  )
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

function fill(context: CanvasRenderingContext2D, colour: string): void {
  context.fillStyle = colour
  context.fillRect(0, 0, context.canvas.width, context.canvas.height)
}

function isBlank(canvas: HTMLCanvasElement): boolean {
  const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
  for (let at = 3; at < data.length; at += 4) if (data[at]! >= 128) return false
  return true
}

function blankLike({ width, height }: HTMLCanvasElement): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  return [canvas, canvas.getContext('2d')!]
}
