/**
 * Two kinds of failure, never mixed: a broken promise of our own code stops here; what the world does wrong (media,
 * clients, operators) is a value from `errors.ts`.
 */
export class AssertionError extends Error {
  override name = 'AssertionError'
}

/**
 * Stop when our own code broke its promise. Costs one comparison; `message` is a constant, so that nothing is built
 * on the hot path.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** The end of an exhaustive `switch`: a new case does not compile until it is decided. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case ${JSON.stringify(value)}`)
}
