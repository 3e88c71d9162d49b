/**
 * What a reader may expect of every file: a name that says something, a header, lines that fit, nothing of the machine
 * it was written on, no unfinished work and no test that is switched off without a word.
 */
import { basename } from 'node:path/posix'
import { codeOnly, withoutComments } from './code-text.ts'
import { everyMatch, isCode, isTypeScript } from './rule.ts'
import type { Rule } from './rule.ts'

const COLUMNS_MAX = 120

export const fileNames: Rule = {
  name: 'file names are kebab-case',
  check({ path }) {
    if (!/\.(ts|mjs|sh|proto)$/.test(path)) return []
    const bad = path.split('/').filter((part) => !/^\.?[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?(?:\.\w+)?$/.test(part))
    return bad.map((part) => ({ line: 1, problem: `\`${part}\` is not kebab-case` }))
  },
}

const DRAWERS = ['util', 'utils', 'helper', 'helpers', 'types', 'manager', 'common', 'misc', 'shared']

export const noDrawers: Rule = {
  name: 'no drawers and no barrels',
  check({ path, text }) {
    if (!isCode(path)) return []
    const problems: string[] = []
    const parts = path.replace(/(?:\.test)?\.\w+$/, '').split('/')
    for (const part of parts) {
      if (DRAWERS.includes(part)) problems.push(`\`${part}\` says nothing; name the thing that is in it`)
    }
    const statements = withoutComments(text).trim().split(/\n(?=export|import)/)
    const onlyPassesOn = statements.every((statement) => /^export\s[^=]*\sfrom\s+['"][^'"]+['"];?\s*$/.test(statement))
    if (/^index\.(?:ts|mjs)$/.test(basename(path)) && onlyPassesOn) problems.push('a barrel; import from where it is')
    return problems.map((problem) => ({ line: 1, problem }))
  },
}

export const headers: Rule = {
  name: 'every file says first what it is',
  check({ path, text }) {
    if (!isCode(path)) return []
    const first = text.replace(/^#!.*\n/, '')
    if (/^(?:\/\*\*?\s*\n?\s*\*?\s*\S|\/\/ \S)/.test(first)) return []
    return [{ line: 1, problem: 'begins without a comment that says what the file is' }]
  },
}

/** Tables with one row a line, where a broken row would be harder to read than a long one. */
const WIDE_TABLES = ['engine/errors.ts']

export const lineLengths: Rule = {
  name: `lines of code have at most ${COLUMNS_MAX} columns`,
  check({ path, text }) {
    if (!isCode(path) || WIDE_TABLES.includes(path)) return []
    return text.split('\n').flatMap((line, index) =>
      line.length > COLUMNS_MAX ? [{ line: index + 1, problem: `${line.length} columns` }] : [])
  },
}

// The words are put together here, so that this file does not hold what it looks for.
const HOMES = ['work', 'root', 'home'].join('|')
const MACHINE_PATH = new RegExp(`(?<![\\w.$}*-])/(?:${HOMES})/[\\w.-]`, 'g')
const REGISTRY_HOST = new RegExp(
  [
    '\\b(?:registry|deb|ftp|proxy|files|static|index|repo1?)\\.[a-z][a-z0-9-]*\\.(?:org|com|io|net|dev)\\b',
    ...['npmjs', 'pypi', 'crates', 'pythonhosted', 'maven'].map((name) => `\\b${name}\\.(?:org|com|io)\\b`),
  ].join('|'),
  'g',
)

export const noMachineFacts: Rule = {
  name: 'nothing of the machine it was written on',
  check({ path, text }) {
    // Names of public images begin with one.
    const isOfImages = path.startsWith('charts/')
    const found = isOfImages ? [] : everyMatch(text, REGISTRY_HOST, ([host]) => `the registry host ${host}`)
    if (path === 'package-lock.json') return found
    return [...found, ...everyMatch(text, MACHINE_PATH, ([start]) => `a machine path (${start}...)`)]
  },
}

const UNFINISHED = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`, 'g')
/** Of a merge that was not ended. A row of `=` may be a heading. */
const CONFLICT = /^(?:<{7}|>{7}|\|{7})(?= |$)/gm

export const noUnfinishedWork: Rule = {
  name: 'no unfinished work',
  check({ path, text }) {
    if (!isCode(path) && !/\.(?:md|sh|proto)$/.test(path)) return []
    return [
      ...everyMatch(text, UNFINISHED, ([word]) => `\`${word}\`: finish it, or leave it out`),
      ...everyMatch(text, CONFLICT, () => 'the mark of a conflict'),
    ]
  },
}

export const noSilentSkips: Rule = {
  name: 'no test is switched off without a printed reason',
  check({ path, text }) {
    if (!path.startsWith('test/') || !isTypeScript(path)) return []
    const code = codeOnly(text)
    return [
      ...everyMatch(code, /\b(?:t|tap|test)\.only\s*\(|\bonly:\s*true\b/g, () => 'only one test would run'),
      ...everyMatch(code, /\bskip:\s*true\b|\b(?:t|tap|test)\.skip\s*\(/g, () => 'skipped without a reason in words'),
      ...everyMatch(code, /\btodo:\s*\S|\b(?:t|tap|test)\.todo\s*\(/g, () => 'a test for later; write it now'),
    ]
  },
}

// Put together here, so that this file does not hold what it looks for.
const KEY_BLOCK = ['-----BEGIN [A-Z ]*PRIVATE', 'KEY-----\\n[A-Za-z0-9+/=\\n]{40}'].join(' ')
const SECRET = new RegExp([
  KEY_BLOCK, '\\bAKIA[0-9A-Z]{16}\\b', '\\bgh[pousr]_[A-Za-z0-9]{36}', '\\bnpm_[A-Za-z0-9]{36}', '\\bglpat-[\\w-]{20}',
  '\\bxox[abprs]-[A-Za-z0-9-]{20}', '\\bhvs\\.[\\w-]{24}',
].join('|'), 'g')

export const noSecrets: Rule = {
  name: 'no keys and no tokens of others',
  check({ text }) {
    return everyMatch(text, SECRET, ([found]) => `what looks like a secret (${found.slice(0, 8)}...)`)
  },
}
