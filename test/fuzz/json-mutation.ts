/** Changes of a value that is JSON: one place of it, another value. Where bytes change at random few stay JSON. */
import type { Random } from '../sim/random.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const VALUES: readonly Json[] = [
  null, true, false, 0, 1, -1, 1.5, 2 ** 32, 2 ** 53, -(2 ** 53), 1e300, '', 'x', 'n1', '0'.repeat(32), [], {}, [[]],
  [null], { x: {} },
]

/** @param text  of JSON */
export function jsonMutated(random: Random, text: string): string {
  const holder: Json[] = [JSON.parse(text) as Json]
  const places: Array<[holder: { [key: string]: Json }, key: string]> = []
  const walk = (value: Json): void => {
    if (typeof value !== 'object' || value === null) return
    for (const key of Object.keys(value)) {
      places.push([value as { [key: string]: Json }, key])
      walk((value as { [key: string]: Json })[key]!)
    }
  }
  walk(holder)
  for (let i = random.between(1, 3); i > 0; i--) {
    const [owner, key] = random.pick(places)
    const [otherOwner, otherKey] = random.pick(places)
    switch (random.int(6)) {
      case 0:
        if (Array.isArray(owner)) owner.splice(Number(key), 1)
        else delete owner[key]
        break
      case 1: owner[key] = copyOf(otherOwner[otherKey] ?? null); break
      case 2: owner[`${key}x`] = random.pick(VALUES); break
      case 3: {
        const value = owner[key]
        if (Array.isArray(value)) value.push(copyOf(random.pick(value.length > 0 ? value : VALUES)))
        else if (typeof value === 'number') owner[key] = value + random.between(-2, 2)
        else if (typeof value === 'string') owner[key] = value.slice(random.int(3))
        break
      }
      default: owner[key] = copyOf(random.pick(VALUES))
    }
  }
  return JSON.stringify(holder[0] ?? null)
}

/** A piece that is put into itself would have no end. */
const copyOf = (value: Json): Json =>
  typeof value === 'object' && value !== null ? JSON.parse(JSON.stringify(value)) as Json : value
