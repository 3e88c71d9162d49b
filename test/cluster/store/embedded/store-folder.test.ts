/**
 * The folder of an embedded store: made in steps any of which may be the last, refused in words when it is not ours,
 * and never served with a part of it missing, whatever LevelDB makes of that.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { openEmbeddedStore } from '../../../../cluster/store/embedded/embedded-store.ts'
import type { EmbeddedStore } from '../../../../cluster/store/embedded/embedded-store.ts'
import { crc32c } from '../../../../dataplane/checksum.ts'
import { HoldfastError } from '../../../../engine/errors.ts'
import { liveTables } from '../../../../engine/level/manifest.ts'
import { Random } from '../../../sim/random.ts'
import { temporaryFolder } from '../../../temporary-folder.ts'

const BOUNDS = { revisionsMax: 300, bytesMax: 2 ** 24 }

const put = (store: EmbeddedStore, key: string, value: Uint8Array): Promise<void> =>
  store.change(value.length, (history) => ({ record: history.put(key, value), answer: undefined }))

/** All that is there, in a word. */
function contentOf(store: EmbeddedStore): string {
  const { records } = store.history.range({ from: '', below: undefined }, store.committedRevision, Infinity)
  return records.map(({ key, revision, version, value }) => `${key} ${revision} ${version} ${crc32(value)}`).join()
}

/** The error of opening, or what is there. */
async function opened(dir: string): Promise<string | HoldfastError> {
  try {
    const store = await openEmbeddedStore(dir, BOUNDS)
    const content = contentOf(store)
    await store.close()
    return content
  } catch (error) {
    if (error instanceof HoldfastError) return error
    throw error
  }
}

const K7 = `k 2 1 ${crc32(Uint8Array.of(7))}`

async function madeStore(t: Test): Promise<string> {
  const dir = temporaryFolder(t)
  const store = await openEmbeddedStore(dir, BOUNDS)
  await put(store, 'k', Uint8Array.of(7))
  await store.close()
  return dir
}

t.test('a start that is cut short is taken up, or begun anew when nothing was promised', async (t) => {
  const dir = await madeStore(t)
  const level = path.join(dir, 'level')
  fs.renameSync(level, `${level}.new`)
  t.equal(await opened(dir), K7, 'store.json is there: only the rename was missing')
  const identity = fs.readFileSync(path.join(dir, 'store.json'), 'utf8')
  t.match(JSON.parse(identity), { format: 1, clusterId: /^[0-9a-f]{16}$/, memberId: /^[0-9a-f]{16}$/ })
  const unfinished = temporaryFolder(t)
  fs.mkdirSync(path.join(unfinished, 'level.new'))
  fs.writeFileSync(path.join(unfinished, 'level.new', 'CURRENT'), 'half')
  fs.writeFileSync(path.join(unfinished, 'store.json.new'), '{')
  fs.writeFileSync(path.join(unfinished, 'lock'), '1')
  t.equal(await opened(unfinished), '')
  t.not(fs.readFileSync(path.join(unfinished, 'store.json'), 'utf8'), identity, 'every store has its own id')
})

t.test('what is not ours is refused and not touched', async (t) => {
  const table: Array<[spoil: (dir: string) => void, code: string, sentence: RegExp]> = [
    [(dir) => fs.rmSync(path.join(dir, 'store.json')), 'store-foreign', /not a cluster store \(level\)/],
    [(dir) => fs.writeFileSync(path.join(dir, 'store.json'), '{"format": 2}'), 'format-newer', /version 2, .* knows 1/],
    [(dir) => fs.writeFileSync(path.join(dir, 'store.json'), '{"format": 1}'), 'store-damaged', /does not name/],
    [(dir) => fs.writeFileSync(path.join(dir, 'store.json'), '\0\0'), 'store-damaged', /cannot be read/],
    [(dir) => fs.writeFileSync(path.join(dir, 'store.json'), 'null'), 'store-damaged', /does not name a store/],
    [(dir) => fs.rmSync(path.join(dir, 'level'), { recursive: true }), 'store-damaged', /level folder is gone/],
    [(dir) => fs.rmSync(path.join(dir, 'level', 'CURRENT')), 'store-damaged', /does not exist/],
    [(dir) => {
      const file = path.join(dir, 'store.json')
      const other = '0123456789abcdef'
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/[0-9a-f]{16}/, other))
    }, 'store-damaged', /belongs to another store/],
  ]
  for (const [spoil, code, message] of table) {
    const dir = await madeStore(t)
    spoil(dir)
    const before = fs.readdirSync(dir).sort()
    t.match(await opened(dir), { code, message })
    t.same(fs.readdirSync(dir).sort(), before)
  }
  const foreign = temporaryFolder(t)
  fs.writeFileSync(path.join(foreign, 'thesis.txt'), 'years of work')
  t.match(await opened(foreign), { code: 'store-foreign', message: /thesis\.txt.*give an empty folder/ })
  t.same(fs.readdirSync(foreign), ['thesis.txt'])
  t.match(await opened(path.join(foreign, 'thesis.txt')), { code: 'folder' })
})

t.test('one process serves a folder', async (t) => {
  const dir = await madeStore(t)
  const store = await openEmbeddedStore(dir, BOUNDS)
  t.match(await opened(dir), { code: 'folder-in-use' })
  await store.close()
  t.equal(await opened(dir), K7)
})

/** A store with tables, a log behind them, compaction, deletions; what it showed at each revision. */
async function largeStore(t: Test, random: Random): Promise<{ dir: string; contents: Set<string>; newest: string }> {
  const dir = temporaryFolder(t)
  const store = await openEmbeddedStore(dir, BOUNDS)
  let newest = contentOf(store)
  const contents = new Set([newest])
  for (let i = 0; i < 500; i++) {
    const key = `key-${random.int(30)}`
    const value = Uint8Array.from({ length: random.int(20_000) + 1 }, () => random.int(256))
    if (random.int(8) > 0) await put(store, key, value)
    else await store.change(0, (history) => ({ record: history.delete(key), answer: undefined }))
    newest = contentOf(store)
    contents.add(newest)
  }
  await store.close()
  return { dir, contents, newest }
}

t.test('with anything missing or rotten it is refused, or what it was at one moment is there', async (t) => {
  const random = new Random(11)
  // Not opened in between: that would empty its log into a table.
  const { dir, contents, newest } = await largeStore(t, random)
  const copy = `${dir}-copy`
  t.teardown(() => fs.rmSync(copy, { recursive: true, force: true }))
  const files = fs.readdirSync(path.join(dir, 'level')).filter((name) => /\.ldb$|\.log$|^MANIFEST/.test(name))
  t.ok(files.some((name) => name.endsWith('.ldb')) && files.some((name) => name.endsWith('.log')))
  const outcomes = { refused: 0, whole: 0, older: 0 }
  for (const name of files) {
    const bytes = fs.readFileSync(path.join(dir, 'level', name))
    const flipped = (at: number): Buffer => {
      const rotten = Buffer.from(bytes)
      if (at < rotten.length) rotten[at]! ^= 0x40
      return rotten
    }
    const damages: Array<[string, Buffer | undefined]> = [
      ['gone', undefined], ['empty', Buffer.alloc(0)],
      ...[0.5, 0.95].map((part): [string, Buffer] => [`cut at ${part}`, bytes.subarray(0, bytes.length * part)]),
      ...Array.from({ length: 4 }, (): [string, Buffer] => {
        const at = random.int(Math.max(1, bytes.length))
        return [`flipped at ${at}`, flipped(at)]
      }),
    ]
    for (const [what, damaged] of damages) {
      fs.rmSync(copy, { recursive: true, force: true })
      fs.cpSync(dir, copy, { recursive: true })
      const file = path.join(copy, 'level', name)
      if (damaged === undefined) fs.rmSync(file)
      else fs.writeFileSync(file, damaged)
      const found = await opened(copy)
      if (found instanceof HoldfastError) {
        if (found.code !== 'store-damaged') t.equal(found.code, 'store-damaged', `${name} ${what}`)
        outcomes.refused++
      } else {
        if (!contents.has(found)) t.fail(`${name} ${what}: it shows what it never was`)
        outcomes[found === newest ? 'whole' : 'older']++
      }
    }
  }
  t.comment(JSON.stringify(outcomes))
  t.ok(outcomes.refused > outcomes.whole + outcomes.older, 'most of it is noticed')
})

t.test('a rotten table is named before LevelDB meets it in a compaction, which would end the process', async (t) => {
  const { dir, newest } = await largeStore(t, new Random(5))
  const level = path.join(dir, 'level')
  const manifest = fs.readFileSync(path.join(level, fs.readFileSync(path.join(level, 'CURRENT'), 'utf8').trim()))
  const live = [...liveTables(manifest, crc32c)].map((number) => `${String(number).padStart(6, '0')}.ldb`)
  t.ok(live.length > 0)
  for (const name of live) {
    const file = path.join(level, name)
    const bytes = fs.readFileSync(file)
    for (let i = 0; i < 16; i++) {
      const rotten = Buffer.from(bytes)
      rotten[Math.floor((bytes.length * i) / 16)]! ^= 0x40
      fs.writeFileSync(file, rotten)
      t.match(await opened(dir), { code: 'store-damaged', message: `level/${name}: its ` })
    }
    fs.writeFileSync(file, bytes)
  }
  // Left over from a compaction that a power cut ended: no part of the store, and LevelDB deletes it.
  const leftOver = path.join(level, '999999.ldb')
  fs.writeFileSync(leftOver, Buffer.alloc(5000))
  t.equal(await opened(dir), newest, 'nothing was changed meanwhile, and what is no part of it is not looked at')
  t.notOk(fs.existsSync(leftOver))
})
