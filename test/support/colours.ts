/** The colours that the demo model was trained on, as python-worker/demo/scenes/scene.py draws them. */
const PALETTE: Readonly<Record<string, readonly [number, number, number]>> = {
  red: [226, 30, 36],
  green: [24, 158, 60],
  blue: [34, 60, 226],
  yellow: [250, 216, 30],
  purple: [150, 40, 190],
  cyan: [40, 210, 226],
  black: [16, 16, 16],
  white: [250, 250, 250]
}

/**
 * Returns a picture's two most common colours, by the nearest name of the palette: the border's (the background), and the
 * most common other colour inside (the object).
 *
 * @param pixels RGB, width · height · 3 bytes
 */
export function coloursOf(pixels: Uint8Array, width: number, height: number): { background: string; object: string } {
  const names = Array.from({ length: width * height }, (_, index) => nearest(pixels.subarray(index * 3, index * 3 + 3)))
  const onBorder = (index: number) => {
    const [x, y] = [index % width, Math.floor(index / width)]
    return x < 4 || y < 4 || x >= width - 4 || y >= height - 4
  }
  const background = commonest(names.filter((_, index) => onBorder(index)))
  return { background, object: commonest(names.filter((name) => name !== background)) }
}

function nearest(pixel: Uint8Array): string {
  const distance = ([r, g, b]: readonly [number, number, number]) =>
    (pixel[0]! - r) ** 2 + (pixel[1]! - g) ** 2 + (pixel[2]! - b) ** 2
  return Object.entries(PALETTE).reduce((best, entry) => (distance(entry[1]) < distance(best[1]) ? entry : best))[0]
}

function commonest(names: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ['none', 0])[0]
}
