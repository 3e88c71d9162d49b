/**
 * Documents tell the truth about files: a path in backticks, or a relative link, leads to something. Fenced blocks are
 * left out, they hold commands and drawings.
 *
 * A name in backticks is taken for a path when it has a known extension, or a slash behind a folder of ours. Patterns
 * (`test/*.ts`, `{a,b}.ts`) need the part before the pattern, or each alternative.
 */
import { dirname, join } from 'node:path/posix'
import { lineOf } from './rule.ts'
import type { Rule, Tree } from './rule.ts'

const KNOWN_EXTENSION = /\.(?:ts|mjs|md|sh|json|proto|yaml)$/
const PATH_LIKE = /^[\w.@{},*-]+(?:\/[\w.@{},*-]*)*$/
/** Made when it runs, or by npm. */
const NOT_IN_THE_TREE = /^(?:node_modules|\.holdfast|\.tap|DIR)(?:\/|$)/

export const documentPaths: Rule = {
  name: 'files named in documents exist',
  check({ path, text }, tree) {
    if (!path.endsWith('.md')) return []
    const prose = text.replace(/^(```|~~~)[\s\S]*?^\1/gm, (block) => block.replace(/[^\n]/g, ' '))
    const named = [...prose.matchAll(/`([^`\n]+)`/g)].filter((match) => isPath(match[1] ?? '', path, tree))
    const linked = [...prose.matchAll(/\]\((?!\w+:|#)([^)#\s]+)[^)]*\)/g)]
    return [...named, ...linked].flatMap((match) => {
      const name = match[1] ?? ''
      const missing = alternatives(name).filter((one) => !isThere(one, path, tree))
      return missing.map((one) => ({ line: lineOf(prose, match.index), problem: `\`${one}\` does not exist` }))
    })
  },
}

function isPath(name: string, document: string, tree: Tree): boolean {
  if (!PATH_LIKE.test(name) || NOT_IN_THE_TREE.test(name)) return false
  if (KNOWN_EXTENSION.test(name) && !/^\.\w+$/.test(name)) return true
  const first = name.split('/')[0] ?? ''
  return name.includes('/') && first !== '' && (tree.exists(first) || tree.exists(join(dirname(document), first)))
}

function alternatives(name: string): string[] {
  const braces = /^(.*?)\{([^{}]*)\}(.*)$/.exec(name)
  if (braces === null) return [name]
  const [, before = '', inside = '', after = ''] = braces
  return inside.split(',').flatMap((one) => alternatives(`${before}${one.trim()}${after}`))
}

function isThere(name: string, document: string, tree: Tree): boolean {
  const star = name.indexOf('*')
  const solid = star < 0 ? name : name.slice(0, star).replace(/[^/]*$/, '')
  const bare = solid.replace(/\/$/, '')
  return bare === '' || tree.exists(bare) || tree.exists(join(dirname(document), bare))
}
