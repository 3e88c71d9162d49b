/** Changes of a value that is JSON: one place of it, another value. Where bytes change at random few stay JSON. */
import type { Random } from '../sim/random.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const VALUES: readonly Json[] = [
  null, true, false, 0, 1, -1, 1.5, 2 ** 32, 2 ** 53, -(2 ** 53), 1e300, '', 'x', 'n1', '0'.repeat(32), [], {}, [[]],
  [null], { x: {} },
]

/** @param text  begins at `at` of the bytes; undefined: that is no JSON */
export function jsonMutated(random: Random, bytes: Uint8Array, at: number): Uint8Array | undefined {
  let root: Json
  try {
    root = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + at, bytes.length - at).toString()) as Json
  } catch {
    return undefined
  }
  const holder: Json[] = [root]
  const places: Array<[holder: { [key: string]: Json }, key: string]> = []
  const walk = (value: Json): void => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, inner] of Object.entries(value)) {
      places.push([value as { [key: string]: Json }, key])
      walk(inner)
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
      case 1: owner[key] = structuredClone(otherOwner[otherKey] ?? null); break
      case 2: owner[`${key}x`] = random.pick(VALUES); break
      case 3: {
        const value = owner[key]
        if (Array.isArray(value)) value.push(structuredClone(random.pick(value.length > 0 ? value : VALUES)))
        else if (typeof value === 'number') owner[key] = value + random.between(-2, 2)
        else if (typeof value === 'string') owner[key] = value.slice(random.int(3))
        break
      }
      default: owner[key] = structuredClone(random.pick(VALUES))
    }
  }
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(JSON.stringify(holder[0] ?? null))])
}
