/**
 * Pages for users under Kubernetes tell what is so: sentences that a user is said to see are those of the table of
 * errors, times are measured ones or settings, alerts and examples are there.
 */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { parametersOf } from '../../csi/controller/parameters.ts'
import { ERRORS } from '../../engine/errors.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const textOf = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
/** Those that have words of their own; a sentence that is a place for another one fits everything. */
const SENTENCES = Object.entries(ERRORS)
  .filter(([, { sentence }]) => sentence.replace(/\{\w+\}/g, '').length > 12)
  .map(([code, { sentence }]) => ({
    code, pattern: new RegExp(`^${sentence.split(/\{\w+\}/).map(escaped).join('(.+)')}$`),
  }))

/** What a first column says in backticks and is no command. */
function seen(page: string): string[] {
  return page.split('\n').filter((line) => line.startsWith('| '))
    .flatMap((line) => /^\| `([^`]+)` \|/.exec(line)?.[1] ?? [])
    .filter((text) => text.includes(' ') && !text.startsWith('holdfast '))
}

t.test('what a user sees is what is said', async (t) => {
  const launcher = textOf('bin/node24')
  const unknown = t.throws(() => parametersOf({ 'holdfast.io/replica': '2' }, {})) as Error
  const sentences = seen(textOf('docs/troubleshooting.md'))
  t.ok(sentences.length > 35, `${sentences.length} sentences`)
  for (const text of sentences) {
    const isElse = launcher.includes(text) || unknown.message === text
    const isSaid = isElse || SENTENCES.some(({ pattern }) => pattern.test(text))
    t.ok(isSaid, text)
  }
  t.notOk(SENTENCES.some(({ pattern }) => pattern.test('volume data is broken')), 'another one would be found')
})

t.test('times are measured, or set', async (t) => {
  const sources = ['docs/proof.md', 'docs/operations.md', 'docs/tls.md'].map(textOf).join('\n')
  const times = [...textOf('docs/failures.md').matchAll(/\b(\d[\d.]*)(?: to (\d[\d.]*))? (s|ms|min)\b/g)]
  t.ok(times.length > 8, `${times.length} times`)
  for (const [whole, from, to, unit] of times) {
    for (const number of [from, to].filter((one) => one !== undefined)) {
      const range = '(?: to [\\d.]+| and [\\d.]+)?'
      t.match(sources, new RegExp(`\\b${escaped(number!)}${range} ?${unit}\\b|\\b${number}${unit![0]}\\b`), whole)
    }
  }
})

t.test('alerts that are named are there', async (t) => {
  const chart = textOf('charts/holdfast/templates/alerts.yaml')
  const pages = ['docs/failures.md', 'docs/troubleshooting.md', 'docs/kubernetes.md'].map(textOf).join('\n')
  for (const [, name] of pages.matchAll(/alert `(Holdfast\w+)`/g)) t.match(chart, `- alert: ${name}\n`)
})

t.test('classes of the examples are taken', async (t) => {
  const folder = path.join(ROOT, 'docs/examples')
  const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
  t.ok(files.length >= 5)
  const objects = files.flatMap((name) => parseAllDocuments(textOf(`docs/examples/${name}`)).map((one) => one.toJS()))
  const classes = objects.filter(({ kind }) => kind === 'StorageClass')
  t.same(classes.map(({ metadata }) => metadata.name).sort(), ['holdfast-database', 'storageos-production'])
  for (const { provisioner, parameters } of classes) {
    t.equal(provisioner, 'csi.holdfast.io')
    t.doesNotThrow(() => parametersOf(parameters, {}))
  }
})
