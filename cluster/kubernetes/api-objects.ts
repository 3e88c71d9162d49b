/**
 * What objects of a Kubernetes API have in common, read off them. Whoever may put one puts whatever the API takes: what
 * is not there, or has another form, is empty here.
 */
import { isRecord } from '../../engine/value-shape.ts'

export type ApiObject = Record<string, unknown>

export const recordOf = (value: unknown): ApiObject => (isRecord(value) ? value : {})
export const recordsOf = (value: unknown): ApiObject[] => (Array.isArray(value) ? value.filter(isRecord) : [])
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

const metadataOf = ({ metadata }: ApiObject): ApiObject => recordOf(metadata)

export const nameOf = (object: ApiObject): string => textOf(metadataOf(object).name)
export const uidOf = (object: ApiObject): string => textOf(metadataOf(object).uid)
/** resourceVersion. */
export const versionOf = (object: ApiObject): string => textOf(metadataOf(object).resourceVersion)
export const labelOf = (object: ApiObject, name: string): string => textOf(recordOf(metadataOf(object).labels)[name])

/** Undefined: it has none of that name. */
export function annotationOf(object: ApiObject, name: string): string | undefined {
  const text = recordOf(metadataOf(object).annotations)[name]
  return typeof text === 'string' ? text : undefined
}

/** It was deleted, and is not gone yet. */
export const isEnding = (object: ApiObject): boolean => metadataOf(object).deletionTimestamp !== undefined

/** Who makes it anew: one of its owners, as it names him; nothing: nobody. */
export const controllerOf = (object: ApiObject): ApiObject =>
  recordsOf(metadataOf(object).ownerReferences).find(({ controller }) => controller === true) ?? {}

export const conditionOf = ({ status }: ApiObject, type: string): ApiObject =>
  recordsOf(recordOf(status).conditions).find((one) => one.type === type) ?? {}
