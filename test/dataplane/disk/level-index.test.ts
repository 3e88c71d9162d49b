/** What may be wrong with an index folder is told apart: in use, or to be discarded; and discarding heals. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { discardIndex, openLevelIndex, type LevelIndex } from '../../../dataplane/disk/level-index.ts'

const key = Uint8Array.of(1)
const put = (index: LevelIndex, value: number) =>
  new Promise<boolean>((resolve) => index.batch([{ type: 'put', key, value: Uint8Array.of(value) }], resolve))
const get = (index: LevelIndex) =>
  new Promise<number | string | undefined>((resolve) => {
    index.getMany([key], (ok, [value]) => resolve(ok ? value?.[0] : 'error'))
  })

async function opened(folder: string): Promise<LevelIndex> {
  const opening = await openLevelIndex(folder)
  if (opening.kind !== 'open') throw new Error(JSON.stringify(opening))
  return opening.index
}

t.test('a second opener is told that it is in use', async (t) => {
  const folder = path.join(t.testdir(), 'deep', 'index')
  const index = await opened(folder)
  const second = await openLevelIndex(folder)
  t.equal(second.kind, 'in-use')
  if (second.kind === 'in-use') t.match(second.error.message, /in use/)
  await index.close()
  await (await opened(folder)).close()
})

t.test('damage is answered with discard, and a discarded index starts empty', async (t) => {
  const damages: Record<string, (folder: string) => void> = {
    'manifest gone': (folder) => {
      for (const name of fs.readdirSync(folder)) if (name.startsWith('MANIFEST')) fs.unlinkSync(path.join(folder, name))
    },
    'current scrambled': (folder) => fs.writeFileSync(path.join(folder, 'CURRENT'), 'nonsense'),
    'manifest scrambled': (folder) => {
      for (const name of fs.readdirSync(folder)) {
        if (name.startsWith('MANIFEST')) fs.writeFileSync(path.join(folder, name), Buffer.alloc(4096, 0xa5))
      }
    },
    'a file in its place': (folder) => {
      fs.rmSync(folder, { recursive: true })
      fs.writeFileSync(folder, 'not a folder')
    },
  }
  for (const [what, damage] of Object.entries(damages)) {
    const folder = path.join(t.testdir(), 'index')
    const index = await opened(folder)
    t.equal(await put(index, 5), true)
    await index.close()
    damage(folder)
    const opening = await openLevelIndex(folder)
    t.equal(opening.kind, 'discard', what)
    if (opening.kind === 'discard') t.ok(opening.reason.length > 5, opening.reason)
    await discardIndex(folder)
    const fresh = await opened(folder)
    t.equal(await get(fresh), undefined)
    await fresh.close()
  }
})

t.test('a gap in the write-ahead log is damage, an end that was cut off is none', async (t) => {
  const folder = path.join(t.testdir(), 'index')
  const index = await opened(folder)
  const value = Buffer.alloc(1000, 7)
  for (let i = 0; i < 200; i++) {
    await new Promise((resolve) => index.batch([{ type: 'put', key: Uint8Array.of(2, i), value }], resolve))
  }
  const copyOf = (name: string): { folder: string; log: string } => {
    const copy = path.join(path.dirname(folder), name)
    fs.cpSync(folder, copy, { recursive: true })
    return { folder: copy, log: path.join(copy, fs.readdirSync(copy).find((file) => file.endsWith('.log'))!) }
  }
  const [gap, cut] = [copyOf('gap'), copyOf('cut')]
  await index.close()
  const fd = fs.openSync(gap.log, 'r+')
  fs.writeSync(fd, Buffer.alloc(64, 1), 0, 64, 100_000)
  fs.closeSync(fd)
  const opening = await openLevelIndex(gap.folder)
  t.equal(opening.kind, 'discard')
  if (opening.kind === 'discard') t.match(opening.reason, /log: dropping \d+ bytes/)
  fs.truncateSync(cut.log, 100_000)
  await (await opened(cut.folder)).close()
})

t.test('a table that is cut, scrambled or gone is told as damage', async (t) => {
  const damages: Record<string, (file: string, bytes: number) => void> = {
    cut: (file, bytes) => fs.truncateSync(file, bytes >> 1),
    scrambled: (file, bytes) => fs.writeFileSync(file, Buffer.alloc(bytes, 3)),
    gone: (file) => fs.rmSync(file),
  }
  const wholeEntries = Array.from({ length: 6 }, (_, i) => [i, 1 << 20, i])
  for (const [what, damage] of Object.entries(damages)) {
    const folder = path.join(t.testdir(), 'index')
    const filled = await opened(folder)
    for (let i = 0; i < 6; i++) {
      const value = Buffer.alloc(1 << 20, i)
      await new Promise((resolve) => filled.batch([{ type: 'put', key: Uint8Array.of(2, i), value }], resolve))
    }
    await filled.close()
    const table = fs.readdirSync(folder).find((name) => name.endsWith('.ldb'))
    const file = path.join(folder, table ?? 'no table')
    // Before it is opened: LevelDB maps its tables, and a mapped file that shrinks ends the process.
    damage(file, fs.statSync(file).size)
    const opening = await openLevelIndex(folder)
    if (opening.kind !== 'open') {
      t.equal(opening.kind, 'discard', what)
      continue
    }
    const { index } = opening
    let told = 0
    index.onDamaged = () => void told++
    const whole = { from: Uint8Array.of(0), below: Uint8Array.of(255), limit: 100 }
    const found = await new Promise<Array<[Uint8Array, Uint8Array]> | undefined>((resolve) =>
      index.range(whole, (ok, entries) => resolve(ok ? entries : undefined)),
    )
    // A compaction may have put the entries elsewhere before the table was damaged: then all of them are there.
    if (found === undefined) t.ok(told > 0, what)
    else t.same(found.map(([key, value]) => [key[1], value.length, value[9]]), wholeEntries, what)
    await index.close()
  }
})

t.test('calls after the end are answered with an error, not with a throw', async (t) => {
  const index = await opened(path.join(t.testdir(), 'index'))
  await index.close()
  t.equal(await put(index, 1), false)
  t.equal(await get(index), 'error')
  t.equal(await new Promise((resolve) => index.range({ from: key, below: Uint8Array.of(2), limit: 1 }, resolve)), false)
})

t.test('an acknowledged batch survives kill -9', async (t) => {
  const folder = path.join(t.testdir(), 'index')
  const url = new URL('../../../dataplane/disk/level-index.ts', import.meta.url).href
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { index } = await (await import(${JSON.stringify(url)})).openLevelIndex(${JSON.stringify(folder)})
       let n = 0
       const next = () => index.batch([{ type: 'put', key: Uint8Array.of(1), value: Uint8Array.of(n) }], (ok) => {
         if (ok) process.stdout.write(String.fromCharCode(n++))
         if (n < 128) next()
       })
       next()`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let acknowledged = -1
  child.stdout.on('data', (chunk: Buffer) => {
    acknowledged = chunk.at(-1)!
    if (acknowledged >= 20) child.kill('SIGKILL')
  })
  await new Promise((resolve) => child.once('close', resolve))
  t.ok(acknowledged >= 20)
  const index = await opened(folder)
  const found = (await get(index)) as number
  t.ok(found >= acknowledged && found <= acknowledged + 1, `${found} of ${acknowledged}`)
  await index.close()
})
