/** The classes of requests: a batch request waits while interactive ones do, but not for ever. */
export const PRIORITIES = ['interactive', 'batch'] as const
export type Priority = (typeof PRIORITIES)[number]
