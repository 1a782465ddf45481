import { expect } from 'vitest'

/**
 * Expects work linear in the length of a text. Compares this process's CPU time with that of a text an eighth as long:
 * linear work takes 8 times as much, quadratic work 64 times.
 *
 * @param make a text of a length, in UTF-16 units
 */
export function expectLinear(make: (length: number) => string, length: number, act: (text: string) => void): void {
  const short = make(length / 8)
  const long = make(length)
  const cpuMs = (text: string): number => {
    const before = process.cpuUsage()
    act(text)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
  for (let i = 0; i < 4; i++) cpuMs(short)
  const few = Math.max(Math.min(...Array.from({ length: 4 }, () => cpuMs(short))), 2)
  const many = Math.min(cpuMs(long), cpuMs(long))
  expect(many / few).toBeLessThan(32)
}
