/**
 * What a decoded value must look like before anybody uses it. A shape answers whether a value is exactly that: known
 * fields only, integers in range, lists of bounded length. Strict on purpose: what a later version adds belongs to a
 * later version, which is agreed on in the preface.
 */
import { isNodeName } from '../../cluster/api/names.ts'
import { U48_MAX } from '../../engine/units.ts'
import { isRecord, isText, listOf, tupleOf } from '../../engine/value-shape.ts'
import type { Shape } from '../../engine/value-shape.ts'

export const integer =
  (least: number, most: number): Shape =>
  (value) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most

/** 0 .. 2^32 - 1, the width of epochs on disk. */
export const epoch = integer(0, 2 ** 32 - 1)
export const u32 = epoch
/** Also what may be one below the first, as a fork of nothing. */
export const seq = integer(0, U48_MAX)
export const count = integer(0, Number.MAX_SAFE_INTEGER)
export const node: Shape = (value) => isText(value) && isNodeName(value)
/** A node, or that none is known yet. */
export const nodeOrNone: Shape = (value) => value === '' || node(value)
export const uuid: Shape = (value) => isText(value) && /^[0-9a-f]{32}$/.test(value)
export const anyPlain: Shape = () => true

export const text =
  (lengthMax: number): Shape =>
  (value) =>
    isText(value) && value.length <= lengthMax

export const oneOf =
  (...values: ReadonlyArray<string | number>): Shape =>
  (value) =>
    values.includes(value as string)

/** Never without a bound. */
export const list = (of: Shape, lengthMax: number): Shape => listOf(of, lengthMax)

/** All of `fields`, any of `optional`, nothing else. */
export function object(fields: Record<string, Shape>, optional: Record<string, Shape> = {}): Shape {
  const required = Object.keys(fields)
  return (value) => {
    if (!isRecord(value)) return false
    for (const key of required) if (!Object.hasOwn(value, key)) return false
    for (const key of Object.keys(value)) {
      const shape = Object.hasOwn(fields, key) ? fields[key] : Object.hasOwn(optional, key) ? optional[key] : undefined
      if (shape === undefined || !shape(value[key])) return false
    }
    return true
  }
}

/** What may be absent: optional, or undefined. Of what is `unknown` nothing is known, so it has to be there. */
type OptionalKeys<T> = {
  [K in keyof T]-?: unknown extends T[K] ? never : MayLack<T, K> extends true ? K : never
}[keyof T]

type MayLack<T, K extends keyof T> =
  undefined extends T[K] ? true : Record<string, never> extends Pick<T, K> ? true : false

/**
 * An object of that type: a field that is added to the type does not compile until it has a shape here, since a shape
 * that lacks it would refuse every message that has it.
 */
export const objectOf = <T>(
  fields: Record<Exclude<keyof T, OptionalKeys<T>>, Shape>,
  optional: Record<OptionalKeys<T>, Shape>,
): Shape => object(fields, optional)

export const record =
  (key: Shape, of: Shape, sizeMax: number): Shape =>
  (value) =>
    isRecord(value) &&
    Object.keys(value).length <= sizeMax &&
    Object.entries(value).every(([name, one]) => key(name) && of(one))

/** Pairs whose numbers grow from one to the next, as the epochs of a log. */
export const ascendingPairs =
  (first: Shape, second: Shape, lengthMax: number): Shape =>
  (value) => {
    if (!list(tupleOf(first, second), lengthMax)(value)) return false
    const pairs = value as Array<[number, number]>
    return pairs.every(([a, b], i) => i === 0 || (a > pairs[i - 1]![0] && b >= pairs[i - 1]![1]))
  }
