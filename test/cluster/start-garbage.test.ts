/** Risk: what a start leaves behind stays resident, in a process or in a thread of it. */
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
process.stdout.write(JSON.stringify({ before, after: kept(), shown: typeof globalThis.gc }))
`
const IN_THREAD = `
import { Worker } from 'node:worker_threads'
new Worker(new URL(${JSON.stringify(`data:text/javascript,${encodeURIComponent(TEXT)}`)}))
`

for (const [where, text] of [['process', TEXT], ['thread', IN_THREAD]] as const) {
  t.test(`of a ${where}: garbage goes, and nobody else can ask for that`, async (t) => {
    const words = ['--input-type=module', '--eval', text]
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' })
    t.match(stdout, /^{/, stderr)
    const { before, after, shown } = JSON.parse(stdout) as { before: number; after: number; shown: string }
    t.ok(before - after > 20_000, `${before} KiB before, ${after} KiB after`)
    t.equal(shown, 'undefined')
  })
}
