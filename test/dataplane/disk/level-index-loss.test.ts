/**
 * Risk: LevelDB opens without a word when files of it are cut or gone, with the newest batches and holes below them,
 * and holes read as zeroes. Each file of an index that a `kill -9` left is damaged in five ways: it has to be
 * discarded, or to be exactly what it was at some checkpoint, or to answer reads with an error.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { openLevelIndex, type LevelIndex } from '../../../dataplane/disk/level-index.ts'
import { ENTRIES, keyOf, META } from './level-index-content.ts'

/** How many entries there are without a gap, and what the last batch said; undefined when a read ends with an error. */
async function contentOf(index: LevelIndex): Promise<{ entries: number; checkpoint: number } | undefined> {
  let entries = 0
  for (;;) {
    const found = await new Promise<Array<[Uint8Array, Uint8Array]> | undefined>((resolve) =>
      index.range({ from: keyOf(entries), below: Uint8Array.of(0x71), limit: 500 }, (ok, list) =>
        resolve(ok ? list : undefined),
      ),
    )
    if (found === undefined) return undefined
    const before = entries
    for (const [key] of found) if (Buffer.compare(key, keyOf(entries)) === 0) entries++
    // The end, or a gap.
    if (entries === before) break
  }
  const checkpoint = await new Promise<number | undefined>((resolve) =>
    index.getMany([META], (ok, [value]) => resolve(ok ? (value?.[0] ?? -1) : undefined)),
  )
  return checkpoint === undefined ? undefined : { entries, checkpoint }
}

t.test('what is missing is noticed, whichever file is cut or gone', async (t) => {
  const folder = path.join(t.testdir(), 'index')
  const left = `${folder}.left`
  const writer = path.join(import.meta.dirname, 'level-index-writer.ts')
  const logsLeft = () => fs.readdirSync(left).filter((name) => name.endsWith('.log')).length
  // Its last batch begins a log, so mostly two are left: the former one has not become a table yet.
  for (let tries = 0; tries < 20 && (tries === 0 || logsLeft() < 2); tries++) {
    fs.rmSync(left, { recursive: true, force: true })
    const ended = spawnSync(process.execPath, [writer, left], { encoding: 'utf8' })
    t.equal(ended.signal, 'SIGKILL', `the writer was killed when it was through ${ended.stderr}`)
  }
  t.equal(logsLeft(), 2, 'it was killed while a log was made into a table')

  const ways: Record<string, (file: string, bytes: number) => void> = {
    removed: (file) => fs.rmSync(file),
    emptied: (file) => fs.truncateSync(file, 0),
    'cut in half': (file, bytes) => fs.truncateSync(file, bytes >> 1),
    'cut at the end': (file, bytes) => fs.truncateSync(file, Math.max(0, bytes - 20)),
    overwritten: (file, bytes) => {
      const fd = fs.openSync(file, 'r+')
      fs.writeSync(fd, Buffer.alloc(16, 0x55), 0, 16, bytes >> 1)
      fs.closeSync(fd)
    },
  }
  const files = fs.readdirSync(left).filter((name) => name !== 'LOCK' && !name.startsWith('LOG'))
  t.ok(files.filter((name) => name.endsWith('.ldb')).length >= 2, 'there is an older part')
  for (const name of files)
    for (const [way, damage] of Object.entries(ways)) {
      fs.rmSync(folder, { recursive: true, force: true })
      fs.cpSync(left, folder, { recursive: true })
      damage(path.join(folder, name), fs.statSync(path.join(folder, name)).size)
      const opening = await openLevelIndex(folder)
      const what = `${name} ${way}`
      if (opening.kind !== 'open') {
        t.equal(opening.kind, 'discard', what)
        continue
      }
      const content = await contentOf(opening.index)
      // Older than the root of the disk: discarded by whoever reads it.
      if (content !== undefined)
        t.equal(content.entries, (content.checkpoint + 1) * ENTRIES, `${what}: nothing is missing`)
      await opening.index.close()
    }
})
