/**
 * Licences of what is shipped: every production dependency (with its own dependencies) has one that goes with
 * Apache-2.0 and asks for no more than its text.
 */
const ACCEPTED = ['Apache-2.0', 'MIT', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause']

export interface LockEntry {
  version?: string
  license?: string
  dev?: boolean
}

/** Direct dependencies that could become another version by themselves. */
export const unpinned = (dependencies: Record<string, string>): string[] =>
  Object.entries(dependencies).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version)).map(([name]) => name)

/** `licenceOf` reads what the installed package says, undefined when it is not installed (another platform). */
export function unacceptableLicences(
  packages: Record<string, LockEntry>,
  licenceOf: (path: string) => string | undefined,
): string[] {
  return Object.entries(packages)
    .filter(([path, entry]) => path !== '' && entry.dev !== true)
    .map(([path, entry]) => ({ path, licence: licenceOf(path) ?? entry.license ?? 'none' }))
    .filter(({ licence }) => !isAccepted(licence))
    .map(({ path, licence }) => `${path}: ${licence}`)
}

/** An SPDX expression: one of `A OR B`, all of `A AND B`. */
export function isAccepted(expression: string): boolean {
  return expression
    .replace(/[()]/g, '')
    .split(/\s+OR\s+/)
    .some((choice) => choice.split(/\s+AND\s+/).every((name) => ACCEPTED.includes(name.trim())))
}
