/**
 * Sections of docs/proof.md that a program writes: what stands between two marks is replaced, nothing else is touched.
 * And the commit that a result belongs to.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const PAGE = join(root, 'docs', 'proof.md')

/** `name` is what `npm run` calls the program. The marks have to be there. */
export function writeProof(name: string, lines: readonly string[]): void {
  writeFileSync(PAGE, withSection(readFileSync(PAGE, 'utf8'), name, lines))
}

export function withSection(page: string, name: string, lines: readonly string[]): string {
  const begin = `<!-- ${name}: written by npm run ${name} -->`
  const end = `<!-- end of ${name} -->`
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from < 0 || to < from) throw new Error(`the page has no section between "${begin}" and "${end}"`)
  return `${page.slice(0, from)}${[begin, ...lines].join('\n')}\n${page.slice(to)}`
}

export function commit(): string {
  return git('rev-parse', '--short', 'HEAD').trim() || 'unknown'
}

/** Whether a file under these folders differs from the commit. */
export function hasChanges(...folders: string[]): boolean {
  return git('status', '--porcelain', '--', ...folders) !== ''
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, { encoding: 'utf8', cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return ''
  }
}
