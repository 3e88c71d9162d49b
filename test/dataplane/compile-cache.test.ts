/**
 * Risk: a compiler in the memory of every process and thread, for good, because what fills the cache and what reads it
 * are not of one mind where it is. A daemon has flags of its own, and V8's flags are part of a cache's name.
 */
// test-slow: compiles all that runs
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { RESIDENT, warmCompileCache } from '../../dataplane/compile-cache.ts'
import { DAEMON_FLAGS } from '../../dataplane/daemon-memory.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const COMPILER = 'NativeModule internal/deps/amaro/dist/index'

/** Whether a process with these flags, or a thread of it, has the compiler once it has imported a file. */
function compiles(cache: string, flags: string[], file: string, where: 'process' | 'thread'): boolean {
  const imports = `await import(${JSON.stringify(pathToFileURL(path.join(ROOT, file)))})`
  const says = `process.exit(process.moduleLoadList.includes(${JSON.stringify(COMPILER)}) ? 7 : 8)`
  // Nobody says what a worker is to do, so that it ends, behind all that it imports.
  const data = `data:text/javascript,${encodeURIComponent(`${imports}.catch(() => undefined)\n${says}`)}`
  const text = where === 'process' ? `${imports}\n${says}` : `import { Worker } from 'node:worker_threads'
new Worker(new URL(${JSON.stringify(data)})).on('exit', (code) => process.exit(code))`
  const env = { ...process.env, NODE_COMPILE_CACHE: cache }
  const { status } = spawnSync(process.execPath, [...flags, '--input-type=module', '--eval', text], { env })
  if (status !== 7 && status !== 8) throw new Error(`${file} ended with ${status}`)
  return status === 7
}

t.test('what those who stay import late is among what is compiled for them', async (t) => {
  const listed = new Set(RESIDENT.flatMap(({ files }) => files))
  const late: string[] = []
  for (const folder of ['cluster', 'csi', 'dataplane', 'engine']) {
    for (const name of readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue
      const file = path.join(folder, name)
      const text = readFileSync(path.join(ROOT, file), 'utf8')
      for (const [, wanted] of text.matchAll(/[^:] import\('(\.[^']+)'\)/g)) {
        late.push(path.join(path.dirname(file), wanted!))
      }
    }
  }
  t.ok(late.length >= 3, 'some are found')
  t.same(late.filter((file) => !listed.has(file)), [])
})

t.test('nothing that stays has compiled anything, once the cache was filled', async (t) => {
  const cache = temporaryFolder(t)
  t.ok(compiles(temporaryFolder(t), DAEMON_FLAGS, 'engine/units.ts', 'process'), 'without a cache it is seen')
  t.ok(compiles(temporaryFolder(t), DAEMON_FLAGS, 'engine/units.ts', 'thread'), 'in a thread, too')
  t.ok(warmCompileCache(cache))
  t.notOk(warmCompileCache(cache), 'once')
  t.notOk(compiles(cache, DAEMON_FLAGS, 'dataplane/worker.ts', 'thread'), 'the data worker')
  for (const { flags, files } of RESIDENT) {
    for (const file of files) t.notOk(compiles(cache, flags, file, 'process'), file)
  }
})
