/** A request as a log may show it: without what is secret by the descriptor or unset, and never unbounded. */
import { secretsOfRequests } from './definition.ts'

const LENGTH_MAX = 2000
const STRIPPED = '[stripped]'

/** @param message  the name of its type, e.g. `CreateVolumeRequest` */
export function shownRequest(message: string, request: object): string {
  const secrets = secretsOfRequests()
  const entries = Object.entries(request).flatMap(([field, value]): Array<[string, unknown]> => {
    if (isUnset(value)) return []
    return [[field, secrets.has(`${message}.${field}`) ? STRIPPED : value]]
  })
  const text = JSON.stringify(Object.fromEntries(entries))
  return text.length > LENGTH_MAX ? `${text.slice(0, LENGTH_MAX)}...` : text
}

const isUnset = (value: unknown): boolean =>
  value === null || value === '' || value === 0 || value === false
  || (typeof value === 'object' && Object.keys(value as object).length === 0)
