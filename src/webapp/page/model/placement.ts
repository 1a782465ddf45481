import type { Rect, Size } from '../lib/picture-file.js'

/** Where a picture is in a frame, of any sizes: it is always inside. */
export interface Placement {
  /** Of the largest size at which it is inside: `LEAST` to 1. */
  readonly scale: number
  /** Shares of the free space that are left of it and above it, 0 to 1. */
  readonly across: number
  readonly down: number
}

export const LEAST = 0.1

/** If the picture would fill the frame, it is first shown at this scale. */
const SMALLER = 0.7

/** A picture of nearly the frame's shape has hardly any room beside it. */
const SAME_SHAPE = 0.1

/** The first placement: in the middle, with room beside it. */
export function firstPlacement(picture: Size, frame: Size): Placement {
  const ratio = Math.abs(Math.log(picture.width / picture.height / (frame.width / frame.height)))
  return { scale: ratio < SAME_SHAPE ? SMALLER : 1, across: 0.5, down: 0.5 }
}

/** The part of the frame that the picture covers, in whole pixels. */
export function rectOf({ scale, across, down }: Placement, picture: Size, frame: Size): Rect {
  const { width: mostWidth, height: mostHeight } = largest(picture, frame)
  const width = Math.max(1, Math.round(mostWidth * scale))
  const height = Math.max(1, Math.round(mostHeight * scale))
  return {
    x: Math.round(across * (frame.width - width)),
    y: Math.round(down * (frame.height - height)),
    width,
    height
  }
}

/** Moves the picture by pixels of the frame. */
export function moved(
  placement: Placement,
  picture: Size,
  frame: Size,
  by: readonly [x: number, y: number]
): Placement {
  const { width, height } = rectOf(placement, picture, frame)
  const share = (now: number, pixels: number, free: number) => (free <= 0 ? now : clamp(now + pixels / free, 0, 1))
  return {
    ...placement,
    across: share(placement.across, by[0], frame.width - width),
    down: share(placement.down, by[1], frame.height - height)
  }
}

export function scaled(placement: Placement, scale: number): Placement {
  return { ...placement, scale: clamp(scale, LEAST, 1) }
}

/** Scales the picture so that its lower right corner follows a place in the frame, and its upper left one stays. */
export function stretched(
  placement: Placement,
  picture: Size,
  frame: Size,
  [x, y]: readonly [x: number, y: number]
): Placement {
  const before = rectOf(placement, picture, frame)
  const most = largest(picture, frame)
  const wanted = Math.max((x - before.x) / most.width, (y - before.y) / most.height)
  const room = Math.min((frame.width - before.x) / most.width, (frame.height - before.y) / most.height)
  const after = scaled(placement, Math.min(wanted, room))
  const { width, height } = rectOf(after, picture, frame)
  const share = (at: number, free: number) => (free <= 0 ? 0.5 : clamp(at / free, 0, 1))
  return {
    ...after,
    across: share(before.x, frame.width - width),
    down: share(before.y, frame.height - height)
  }
}

/** The largest size at which the picture is inside the frame. */
function largest(picture: Size, frame: Size): Size {
  const factor = Math.min(frame.width / picture.width, frame.height / picture.height)
  return { width: picture.width * factor, height: picture.height * factor }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most)
}
