/** Formats a duration: "less than a second", "8 s", "2 min 5 s", "1 h 10 min". */
export function duration(seconds: number): string {
  if (seconds < 1) return 'less than a second'
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return join(Math.floor(whole / 60), 'min', whole % 60, 's')
  return join(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min')
}

function join(many: number, unit: string, few: number, smaller: string): string {
  return few === 0 ? `${many} ${unit}` : `${many} ${unit} ${few} ${smaller}`
}

/** "1st", "2nd", "3rd", "4th", "11th" … */
export function ordinal(position: number): string {
  const kind = new Intl.PluralRules('en', { type: 'ordinal' }).select(position)
  return `${position}${{ one: 'st', two: 'nd', few: 'rd', other: 'th', many: 'th', zero: 'th' }[kind]}`
}

/** File name for a picture from its prompt and seed: "a-red-circle-42.png". */
export function fileName(prompt: string, seed: number | undefined, mimeType: string): string {
  const words = prompt
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replaceAll(/^-+|-+$/g, '')
  const ending = mimeType === 'image/jpeg' ? 'jpg' : mimeType.replace('image/', '')
  return `${[words || 'picture', ...(seed === undefined ? [] : [seed])].join('-')}.${ending}`
}

/** Usual aspect ratios, landscape. */
const RATIOS = [
  [1, 1],
  [5, 4],
  [4, 3],
  [3, 2],
  [16, 9],
  [2, 1],
  [21, 9]
] as const

/** Relative deviation within which a size counts as a usual ratio. SDXL's sizes deviate by up to 2.9 %. */
const RATIO_TOLERANCE = 0.04

/** The nearest usual aspect ratio, such as "16:9" for 1344×768; for unusual sizes the exact one, such as "3.1:1". */
export function ratioName(width: number, height: number): string {
  const ratio = Math.max(width, height) / Math.min(width, height)
  const deviation = ([long, short]: (typeof RATIOS)[number]) => Math.abs(ratio / (long / short) - 1)
  const usual = RATIOS.toSorted((a, b) => deviation(a) - deviation(b))[0]!
  const terms = deviation(usual) <= RATIO_TOLERANCE ? [...usual] : [Number(ratio.toFixed(1)), 1]
  return (width < height ? terms.toReversed() : terms).join(':')
}
