/**
 * What a volume does when copies are gone, by the names that users of other systems know (SPEC.md V8). Each is a number
 * of copies whose acknowledgement a write needs; while fewer are there, what is asked is held until they are there
 * again or have been replaced, and fails when it was held for as long as the volume's `io-timeout` says. No name
 * changes that wait, and none asks for a remount: what is asked later is held anew.
 *
 *              copies that are required     what a volume of three copies does
 *   hard       all                          one gone: held until it is back or replaced
 *   soft       all but one, 2 at the least  one gone: goes on; two gone: held
 *   alwayson   1                            goes on with its last copy
 *   0 to 5     so many replicas and the primary ("threshold")
 *
 * Of a volume of one copy all of them mean 1.
 */
export const FAILURE_MODE_NAMES = ['hard', 'soft', 'alwayson'] as const

/** A number: the threshold. */
export type FailureMode = (typeof FAILURE_MODE_NAMES)[number] | number

export const THRESHOLD_MAX = 5

const REQUIRED: Record<(typeof FAILURE_MODE_NAMES)[number], (copies: number) => number> = {
  hard: (copies) => copies,
  soft: (copies) => Math.max(2, copies - 1),
  alwayson: () => 1,
}

/** @param copies  that are wished, the primary's included  @returns how many have to acknowledge a write */
export function requiredCopies(mode: FailureMode, copies: number): number {
  const required = typeof mode === 'number' ? mode + 1 : REQUIRED[mode](copies)
  return Math.min(required, copies)
}
