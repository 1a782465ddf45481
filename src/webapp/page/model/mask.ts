/** A place in the picture, in its pixels. */
export type Point = readonly [x: number, y: number]

/** One movement of the brush, or a clearing of everything before it. */
export type Stroke =
  | { readonly kind: 'paint' | 'erase'; readonly width: number; readonly points: readonly Point[] }
  | { readonly kind: 'clear' }

/** What the visitor painted over a picture, as strokes that can be undone. */
export class Mask {
  readonly #strokes: Stroke[] = []

  get strokes(): readonly Stroke[] {
    return this.#strokes
  }

  /** The strokes that are seen: those after the last clearing. */
  get seen(): readonly Stroke[] {
    return this.#strokes.slice(this.#strokes.findLastIndex(({ kind }) => kind === 'clear') + 1)
  }

  get cleared(): boolean {
    return this.#strokes.some(({ kind }) => kind === 'clear')
  }

  add(stroke: Stroke): void {
    this.#strokes.push(stroke)
  }

  /** Moves the brush on. */
  extend(to: Point): void {
    const last = this.#strokes.at(-1)
    if (last === undefined || last.kind === 'clear') return
    this.#strokes[this.#strokes.length - 1] = { ...last, points: [...last.points, to] }
  }

  undo(): void {
    this.#strokes.pop()
  }
}

/** Draws a stroke from its point `from` on. */
export function drawStroke(context: CanvasRenderingContext2D, stroke: Stroke, colour: string, from = 0): void {
  if (stroke.kind === 'clear') return
  const [first, ...others] = stroke.points.slice(from)
  if (first === undefined) return
  context.globalCompositeOperation = stroke.kind === 'erase' ? 'destination-out' : 'source-over'
  context.strokeStyle = colour
  context.lineWidth = stroke.width
  context.lineCap = 'round'
  context.lineJoin = 'round'
  context.beginPath()
  context.moveTo(...first)
  // A line to the same place is a dot.
  for (const point of others.length === 0 ? [first] : others) context.lineTo(...point)
  context.stroke()
}
