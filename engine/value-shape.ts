/**
 * What a value is that somebody else made: read from a disk, from the cluster store, or sent by a peer. It is looked at
 * before anybody believes it. A shape says whether a value has a form; shapes are made of shapes.
 */
export type Shape = (value: unknown) => boolean

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const isText = (value: unknown): value is string => typeof value === 'string'

export const isFlag = (value: unknown): value is boolean => typeof value === 'boolean'

/** A whole number from 0. */
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** @param lengthMax  of what may be made long to no purpose */
export const listOf =
  (of: Shape, lengthMax = Infinity): Shape =>
  (value) =>
    Array.isArray(value) && value.length <= lengthMax && value.every(of)

export const tupleOf =
  (...of: readonly Shape[]): Shape =>
  (value) =>
    Array.isArray(value) && value.length === of.length && of.every((shape, i) => shape(value[i]))

export const either =
  (...shapes: readonly Shape[]): Shape =>
  (value) =>
    shapes.some((shape) => shape(value))
