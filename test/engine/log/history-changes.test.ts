/** Changes of older versions are what was put or dropped last, however many there are and however alike their ids. */
import t from 'tap'
import { ENTRY_KIND, ENTRY_WORDS, epochOf, putEntry, seqOf, unitsOf } from '../../../engine/log/entry.ts'
import { HistoryChanges } from '../../../engine/log/history-changes.ts'
import { parseHistoryKey } from '../../../engine/log/index-keys.ts'
import { Random } from '../../sim/random.ts'

/** Ids that differ in one part only, and in bits that a u32 has not. */
const LBAS = [0, 1, 7, 2 ** 32, 2 ** 32 + 1, 2 ** 40]
const SEQS = [1, 2, 2 ** 32 + 1, 2 ** 32 + 2, 2 ** 33, 2 ** 47]
const VOLUME = 9

const entryOf = (epoch: number, seq: number, units: number): Uint32Array => {
  const words = new Uint32Array(ENTRY_WORDS)
  putEntry(words, 0, { segment: 3, units, epoch, seq, crc: 5, storedUnits: 64, kind: ENTRY_KIND.data, transform: 0 })
  return words
}

t.test('random puts and drops against a map', (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(`history changes ${seed}`)
    const changes = new HistoryChanges()
    const model = new Map<string, number | undefined>()
    const idOf = () => ({
      lba: random.chance(0.5) ? random.pick(LBAS) : random.int(500),
      epoch: random.between(1, 3),
      seq: random.chance(0.5) ? random.pick(SEQS) : random.int(2000),
    })
    for (let step = 1; step <= 3000; step++) {
      const { lba, epoch, seq } = idOf()
      const entry = entryOf(epoch, seq, step)
      const isDropped = random.chance(0.3)
      if (isDropped) changes.drop(lba, entry)
      else {
        const at = changes.put(lba, entry)
        if (unitsOf(changes.words, at) !== step) t.fail(`put at step ${step}`)
      }
      model.set(`${lba} ${epoch} ${seq}`, isDropped ? undefined : step)
      const other = idOf()
      const at = changes.find(other.lba, other.epoch, other.seq)
      const name = `${other.lba} ${other.epoch} ${other.seq}`
      if (at >= 0 !== model.has(name)) t.fail(`found at step ${step}: ${name}`)
      const expected = model.get(name)
      if (at >= 0 && (changes.isGone(at) ? undefined : unitsOf(changes.words, at)) !== expected)
        t.fail(`entry at step ${step}: ${name}`)
    }
    t.equal(changes.size, model.size)
    const names = (first: number, end: number): string[] => {
      const found: string[] = []
      changes.eachWithin(first, end, (lba, at) => {
        const place = changes.isGone(at) ? 'gone' : unitsOf(changes.words, at)
        found.push(`${lba} ${epochOf(changes.words, at)} ${seqOf(changes.words, at)}: ${place}`)
      })
      return found.sort()
    }
    const expected = (first: number, end: number): string[] =>
      [...model]
        .filter(([id]) => Number(id.split(' ')[0]) >= first && Number(id.split(' ')[0]) < end)
        .map(([id, step]) => `${id}: ${step ?? 'gone'}`)
        .sort()
    for (const [first, end] of [[0, 1], [7, 8], [0, 500], [2 ** 32, 2 ** 41], [0, 2 ** 48]] as const)
      t.same(names(first, end), expected(first, end), `seed ${seed}, ${first} to ${end}`)
    const written: string[] = []
    let bytes = 0
    for (const one of changes.operations(VOLUME)) {
      const { volume, lba, epoch, seq } = parseHistoryKey(one.key)
      if (volume !== VOLUME) t.fail('a key is the volume’s')
      const words = one.type === 'put' ? new Uint32Array(one.value.slice().buffer) : undefined
      written.push(`${lba} ${epoch} ${seq}: ${words === undefined ? 'gone' : unitsOf(words, 0)}`)
      bytes += one.key.length + (one.type === 'put' ? one.value.length : 0)
    }
    t.same(written.sort(), expected(0, 2 ** 48), 'operations')
    t.equal(bytes, changes.operationBytes())
    changes.clear()
    t.equal(changes.size, 0)
    t.equal(changes.find(LBAS[0]!, 1, 1), -1)
    t.same(names(0, 2 ** 48), [])
  }
  t.end()
})
