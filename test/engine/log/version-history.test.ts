/** Older versions found one by one are those that a walk over the block finds, whatever a checkpoint does meanwhile. */
import t from 'tap'
import { ENTRY_WORDS, hasEntry, seqOf } from '../../../engine/log/entry.ts'
import { dropHistory, findVersions, readHistory } from '../../../engine/log/version-history.ts'
import { Random } from '../../sim/random.ts'
import { MapStage } from './map-stage.ts'

const BLOCKS = 6

t.test('by their ids as by their block: in memory, on their way to the index, in the index, or none', (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(`version history ${seed}`)
    const stage = new MapStage()
    const { index, clock } = stage
    const getMany = index.getMany.bind(index)
    // LevelDB answers what was there when it was asked.
    index.getMany = (keys, done) =>
      getMany(keys, (ok, values) => void clock.complete(random.float() * 4, () => done(ok, values)))
    const written: Array<{ lba: number; epoch: number; seq: number }> = []
    let ending: (() => void) | undefined
    const write = (): void => {
      const lba = random.int(BLOCKS)
      written.push({ lba, epoch: 1, seq: stage.write(lba).seq })
    }
    const compare = (): void => {
      const asked = [...written]
      let found: Uint32Array | undefined
      findVersions(stage.map, stage.volume, asked, (entries) => {
        found = entries
      })
      // Asked for before a checkpoint ends, answered behind it; or before something became older, and a checkpoint.
      if (random.chance(0.5)) ending?.()
      if (found === undefined && ending === undefined && random.chance(0.5)) {
        write()
        stage.begin().end()
      }
      stage.clock.runUntilIdle()
      let expected: string[] = []
      readHistory(stage.map, stage.volume, 0, BLOCKS, (history) => {
        expected = [...history!].flatMap(([lba, versions]) => versions.map((words) => `${lba}/${seqOf(words, 0)}`))
      })
      stage.clock.runUntilIdle()
      const names = asked.flatMap(({ lba, seq }, i) => {
        const at = i * ENTRY_WORDS
        if (!hasEntry(found!, at)) return []
        t.equal(seqOf(found!, at), seq)
        return [`${lba}/${seq}`]
      })
      t.same(names.sort(), expected.sort(), `seed ${seed}`)
    }
    for (let step = 0; step < 120; step++) {
      const dice = random.int(100)
      if (dice < 50) write()
      else if (dice < 65) stage.snapshot()
      else if (dice < 75) {
        // Pages that are being committed are not loaded before.
        if (ending === undefined) stage.load()
      }
      else if (dice < 80) {
        readHistory(stage.map, stage.volume, 0, BLOCKS, (history) => {
          for (const [lba, [oldest]] of history!) {
            if (oldest === undefined || random.chance(0.5)) continue
            stage.map.releaseEntry(stage.volume, oldest, 0)
            dropHistory(stage.volume, lba, oldest)
          }
        })
        stage.clock.runUntilIdle()
      } else if (dice < 90) {
        if (ending !== undefined) ending()
        else {
          const { end } = stage.begin()
          ending = () => {
            ending = undefined
            end()
          }
          if (random.chance(0.5)) ending()
        }
      } else compare()
    }
    ending?.()
    compare()
  }
  t.end()
})
