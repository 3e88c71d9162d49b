/** A question to a part of the simulated world, and its clock until it is answered. */
import type { World } from './world.ts'

/** Undefined: nothing happens any more, and there is no answer. */
export function waitFor<T>(world: World, start: (done: (value: T) => void) => void): T | undefined {
  let answer: { value: T } | undefined
  start((value) => (answer = { value }))
  while (answer === undefined && world.clock.step());
  return (answer as { value: T } | undefined)?.value
}
