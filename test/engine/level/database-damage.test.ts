/**
 * Damage in tables of real databases is found before LevelDB meets it: each byte of a table, compressed or not; and a
 * database that is whole is never accused, whatever an interrupted compaction left beside it.
 */
import fs from 'node:fs'
import path from 'node:path'
import { Level } from 'level'
import t from 'tap'
import type { Test } from 'tap'
import { crc32c } from '../../../dataplane/checksum.ts'
import { databaseDamage } from '../../../engine/level/database-damage.ts'
import type { ReadFile } from '../../../engine/level/database-damage.ts'
import { liveTables } from '../../../engine/level/manifest.ts'
import { tableDamage } from '../../../engine/level/table-blocks.ts'
import { Random } from '../../sim/random.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

interface Content {
  compression: boolean
  rounds: number
}

/** What `level` does not declare of LevelDB. */
interface Classic {
  compactRange(from: string, to: string): Promise<void>
  getProperty(name: 'leveldb.sstables'): string
}

/** Tables came and went. @returns the folder, and the tables of which LevelDB says that it consists of them */
async function madeDatabase(t: Test, { compression, rounds }: Content): Promise<{ folder: string; tables: string[] }> {
  const folder = path.join(temporaryFolder(t), 'level')
  const random = new Random(7)
  const sizes = { writeBufferSize: 65_536, maxFileSize: 2 ** 20 }
  const database = new Level<string, Uint8Array>(folder, { valueEncoding: 'view', compression, ...sizes })
  for (let round = 0; round < rounds; round++) {
    const batch = Array.from({ length: 60 }, () => {
      const key = `some/long/prefix/of/every/key/${String(random.int(8000)).padStart(8, '0')}`
      const value = Uint8Array.from({ length: 300 }, (_, i) => (i < 100 ? 0x61 : random.int(256)))
      return random.int(8) === 0 ? ({ type: 'del', key } as const) : ({ type: 'put', key, value } as const)
    })
    await database.batch(batch)
  }
  // Nothing is left to compact, so none is cut short by the end.
  const classic = database as unknown as Classic
  await classic.compactRange('a', 'z')
  const tables = [...classic.getProperty('leveldb.sstables').matchAll(/^ (\d+):/gm)].map(([, digits]) => Number(digits))
  await database.close()
  return { folder, tables: tables.map(nameOf).sort() }
}

const nameOf = (table: number): string => `${String(table).padStart(6, '0')}.ldb`

const reader = (folder: string): ReadFile => (name) => {
  const file = path.join(folder, name)
  return fs.existsSync(file) ? fs.readFileSync(file) : undefined
}

for (const compression of [false, true]) {
  t.test(`tables ${compression ? 'with' : 'without'} compression`, async (t) => {
    const { folder, tables: [name = ''] } = await madeDatabase(t, { compression, rounds: 2 })
    const table = fs.readFileSync(path.join(folder, name))
    t.equal(databaseDamage(reader(folder), crc32c), undefined, 'a good one passes')
    const missed: number[] = []
    for (let at = 0; at < table.length; at++) {
      table[at]! ^= 1 << (at % 8)
      if (tableDamage(table, crc32c) === undefined) missed.push(at)
      table[at]! ^= 1 << (at % 8)
    }
    t.same(missed, [], `a flipped bit in each of ${table.length} bytes is found`)
    for (const bytes of [0, 20, 48, table.length >> 1, table.length - 1]) {
      t.type(tableDamage(table.subarray(0, bytes), crc32c), 'string', `cut at ${bytes}`)
    }
    table[5]! ^= 1
    fs.writeFileSync(path.join(folder, name), table)
    t.equal(databaseDamage(reader(folder), crc32c), `${name}: its block at byte 0 is damaged`)
  })

  t.test(`a database with a history, ${compression ? 'with' : 'without'} compression`, async (t) => {
    const { folder, tables } = await madeDatabase(t, { compression, rounds: 200 })
    const read = reader(folder)
    const manifest = read(read('CURRENT')!.toString().trim())!
    t.same([...liveTables(manifest, crc32c)].map(nameOf).sort(), tables)
    t.ok(tables.length > 1, `${tables.length} tables`)
    t.equal(databaseDamage(read, crc32c), undefined)
    fs.writeFileSync(path.join(folder, '999999.ldb'), 'half of a table that a compaction did not finish')
    t.equal(databaseDamage(read, crc32c), undefined, 'what is not in the MANIFEST is no part of it')
    for (const file of tables) {
      const bytes = fs.readFileSync(path.join(folder, file))
      const rotten = Buffer.from(bytes)
      rotten[bytes.length >> 1]! ^= 4
      fs.writeFileSync(path.join(folder, file), rotten)
      t.match(databaseDamage(read, crc32c), `${file}: its block at byte `)
      fs.writeFileSync(path.join(folder, file), bytes)
    }
  })
}

t.test('what LevelDB complains of itself is left to it', async (t) => {
  t.equal(databaseDamage(() => undefined, crc32c), undefined, 'no database')
  const { folder, tables } = await madeDatabase(t, { compression: false, rounds: 2 })
  for (const file of tables) fs.rmSync(path.join(folder, file))
  t.equal(databaseDamage(reader(folder), crc32c), undefined, 'a table is gone')
  for (const content of ['', 'MANIFEST-000', 'MANIFEST-999999\n']) {
    fs.writeFileSync(path.join(folder, 'CURRENT'), content)
    t.equal(databaseDamage(reader(folder), crc32c), undefined, `CURRENT says ${JSON.stringify(content)}`)
  }
})
