/** Until nothing more happens by itself: the count is the same after many turns. */
export async function settled(count: () => number): Promise<number> {
  for (let last = -1, turns = 0; turns < 50; turns++) {
    const now = count()
    if (now !== last) turns = 0
    last = now
    await new Promise(setImmediate)
  }
  return count()
}
