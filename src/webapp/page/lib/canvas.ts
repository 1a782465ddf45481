import type { Size } from './picture-file.js'

/** A new canvas, and its context. */
export function newCanvas({ width, height }: Size): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  return [canvas, canvas.getContext('2d')!]
}

/** Fills the whole canvas. */
export function fill(context: CanvasRenderingContext2D, colour: string): void {
  context.fillStyle = colour
  context.fillRect(0, 0, context.canvas.width, context.canvas.height)
}

/** @throws Error if the browser cannot, as of a canvas that is too large for it */
export function pngOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (file) => (file === null ? reject(new Error('The browser cannot encode the picture')) : resolve(file)),
      'image/png'
    )
  )
}
