/**
 * Plain data (numbers, strings, arrays, objects, Maps) copied, and written down so that equal data gives equal text:
 * keys of objects and Maps in order, what is undefined left out.
 */
export function copyOf<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(copyOf) as T
  if (value instanceof Map) return new Map([...value].map(([key, one]) => [key, copyOf(one)])) as T
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) copy[key] = copyOf((value as Record<string, unknown>)[key])
  return copy as T
}

export function textOf(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return `'${value}'`
    case 'object':
      break
    default:
      return String(value)
  }
  if (value === null) return 'null'
  if (Array.isArray(value)) {
    let text = '['
    for (const one of value) text += `${textOf(one)},`
    return `${text}]`
  }
  if (value instanceof Map) {
    const entries = [...value].map(([key, one]) => `${String(key)}=${textOf(one)}`)
    return `<${entries.sort().join()}>`
  }
  let text = '{'
  for (const key of Object.keys(value).sort()) {
    const one = (value as Record<string, unknown>)[key]
    if (one !== undefined) text += `${key}:${textOf(one)},`
  }
  return `${text}}`
}
