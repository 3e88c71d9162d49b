/**
 * Risk: what a start leaves behind stays resident, in a process or in a thread of it; or threads that start together
 * take the means to collect it from each other, which ended daemons with several workers.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'

const FILE = pathToFileURL(path.resolve(import.meta.dirname, '../../cluster/start-garbage.ts')).href
/** Lives long enough to be old, and is garbage then. */
const TEXT = `
import fs from 'node:fs'
import { collectStart } from '${FILE}'
const kept = () => Number(/^Private_Dirty: *(\\d+)/m.exec(fs.readFileSync('/proc/self/smaps_rollup', 'utf8'))[1])
let lists = []
for (let i = 0; i < 400_000; i++) lists.push([i, i + 0.5])
lists = []
const before = kept()
collectStart()
process.stdout.write(JSON.stringify({ before, after: kept() }))
`
const IN_THREAD = `
import { Worker } from 'node:worker_threads'
new Worker(new URL(${JSON.stringify(`data:text/javascript,${encodeURIComponent(TEXT)}`)}))
`

const run = (flags: string[], text: string): string => {
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '--input-type=module', '--eval', text],
    { encoding: 'utf8' })
  t.equal(stderr, '')
  return stdout
}

for (const [where, flags, text] of [['process', [], TEXT], ['thread', ['--expose-gc'], IN_THREAD]] as const) {
  t.test(`of a ${where}: garbage goes`, async (t) => {
    const stdout = run([...flags], text)
    t.match(stdout, /^{/)
    const { before, after } = JSON.parse(stdout) as { before: number; after: number }
    t.ok(before - after > 20_000, `${before} KiB before, ${after} KiB after`)
  })
}

const MANY = `
import { Worker } from 'node:worker_threads'
import { collectStart } from '${FILE}'
const text = "import { collectStart } from '${FILE}'; for (let i = 0; i < 50; i++) collectStart()"
const data = new URL('data:text/javascript,' + encodeURIComponent(text))
const threads = Array.from({ length: 4 }, () => new Worker(data))
for (let i = 0; i < 50; i++) collectStart()
for (const thread of threads) thread.on('error', (error) => process.stdout.write(error.message))
`

for (const flags of [[], ['--expose-gc']]) {
  t.test(`threads that start together do not disturb each other, ${flags.join() || 'without a flag'}`, async (t) => {
    t.equal(run(flags, MANY), '')
  })
}
