/** What views see is the same as when each is asked by itself, by the rule of FORMAT.md section 4 to the letter. */
import t from 'tap'
import type { Snapshot, VolumeDescriptor } from '../../../engine/volume/descriptor.ts'
import { Views } from '../../../engine/volume/views.ts'
import { Random } from '../../sim/random.ts'

const snapshot = (seq: number): Snapshot => ({ id: `s${seq}`, seq, pinnedBy: null })

const descriptor = (of: { snapshots: Snapshot[]; rollbacks?: Array<[number, number]>; deleted?: boolean }) =>
  ({ snapshots: of.snapshots, rollbacks: of.rollbacks ?? [], deleted: of.deleted ?? false, epochs: [[1, 1]] }) as
    unknown as VolumeDescriptor

/** V(v), as it is defined. */
function sees(rollbacks: ReadonlyArray<[number, number]>, view: number, entry: number): boolean {
  const before = rollbacks.filter(([, at]) => at <= view).sort((a, b) => b[1] - a[1])[0]
  if (before === undefined) return entry > 0 && entry <= view
  return (entry > before[1] && entry <= view) || sees(rollbacks, before[0], entry)
}

t.test('each answer is that of all views, asked one by one', (t) => {
  for (let seed = 1; seed <= 400; seed++) {
    const random = new Random(`views ${seed}`)
    const rollbacks: Array<[number, number]> = []
    const snapshots: Snapshot[] = []
    let seq = 1
    for (let i = 0; i < 12; i++) {
      seq += 1 + random.int(4)
      const to = snapshots[random.int(Math.max(1, snapshots.length))]
      if (to === undefined || random.chance(0.65)) snapshots.push(snapshot(seq))
      else {
        if (random.chance(0.5)) snapshots.push({ ...snapshot(seq - 1), id: `kept${seq}` })
        rollbacks.push([to.seq, seq])
      }
      if (random.chance(0.15)) snapshots.splice(random.int(snapshots.length), 1)
    }
    const deleted = random.chance(0.2)
    const views = new Views(descriptor({ snapshots, rollbacks, deleted }))
    const all = [...snapshots.map((one) => one.seq), ...(deleted ? [] : [Infinity])]
    const versions = Array.from({ length: 6 }, () => 1 + random.int(seq + 2)).sort((a, b) => a - b)
    for (const older of versions)
      for (const newer of [...versions, Infinity]) {
        const isSeen = all.some(
          (view) =>
            (view !== Infinity || rollbacks.length > 0) &&
            sees(rollbacks, view, older) && !sees(rollbacks, view, newer),
        )
        t.equal(views.seenBelow(older, newer), isSeen, `seed ${seed}: ${older} below ${newer}`)
      }
    const distinct = [...new Set(versions)]
    const shown = snapshots.flatMap((view) => distinct.findLast((one) => sees(rollbacks, view.seq, one)) ?? [])
    t.same([...views.shownBySnapshots(distinct)].sort(), [...new Set(shown)].sort(), `seed ${seed}: shown`)
    const shows = (view: number, one: number) => distinct.findLast((other) => sees(rollbacks, view, other)) === one
    const alone = distinct.map((one) => {
      const viewers = all.filter((view) => shows(view, one))
      return viewers.length === 1 && viewers[0] !== Infinity ? viewers[0] : 0
    })
    t.same(views.shownByOne(distinct), alone, `seed ${seed}: shown by one`)
  }
  t.end()
})

t.test('what has no mark below it when it is written is in no difference, whatever comes later', (t) => {
  let differences = 0
  let unnoted = 0
  for (let seed = 1; seed <= 400; seed++) {
    const random = new Random(`differences ${seed}`)
    const rollbacks: Array<[number, number]> = []
    const snapshots: Snapshot[] = []
    const written: Array<{ seq: number; isNoted: boolean }> = []
    let seq = 0
    for (let i = 0; i < 40; i++) {
      seq++
      const what = random.float()
      const one = random.int(Math.max(1, snapshots.length))
      if (what < 0.2) snapshots.push(snapshot(seq))
      else if (what < 0.3 && snapshots.length > 0) {
        const to = snapshots[one]!.seq
        if (random.chance(0.3)) snapshots.push({ ...snapshot(seq - 1), id: `kept${seq}` })
        rollbacks.push([to, seq])
      } else if (what < 0.5) snapshots.splice(one, random.pick([1, 1, snapshots.length]))
      else {
        const isNoted = new Views(descriptor({ snapshots, rollbacks })).markBelow(seq) !== undefined
        written.push({ seq, isNoted })
      }
      const views = new Views(descriptor({ snapshots, rollbacks }))
      for (const view of snapshots)
        for (const since of snapshots) {
          const { intervals } = views.difference(view.seq, since.seq)
          for (const { seq, isNoted } of written) {
            const isRead = intervals.some(([above, upTo]) => seq > above && seq <= upTo)
            const differs = sees(rollbacks, view.seq, seq) !== sees(rollbacks, since.seq, seq)
            if (isRead !== differs || (differs && !isNoted)) {
              t.fail(`seed ${seed}: ${seq}, noted: ${isNoted}, of ${view.seq} since ${since.seq}`)
              return void t.end()
            }
            if (differs) differences++
          }
        }
    }
    unnoted += written.filter(({ isNoted }) => !isNoted).length
  }
  t.ok(differences > 10_000 && unnoted > 400, `${differences} times one lay in a difference, ${unnoted} had no mark`)
  t.end()
})

t.test('what changes nothing that is seen leaves the views as they are', (t) => {
  const snapshots = [snapshot(3), snapshot(7)]
  const views = new Views(descriptor({ snapshots, rollbacks: [[3, 5]] }))
  t.equal(views.after(descriptor({ snapshots, rollbacks: [[3, 5]] })), views)
  t.not(views.after(descriptor({ snapshots, rollbacks: [[3, 6]] })), views)
  t.not(views.after(descriptor({ snapshots, rollbacks: [[3, 5]], deleted: true })), views)
  t.end()
})

t.test('a list that grew, shrank or is another one', (t) => {
  const list = [snapshot(3), snapshot(7), snapshot(9)]
  const views = new Views(descriptor({ snapshots: list }))
  const seqsAfter = (snapshots: Snapshot[]): readonly number[] => views.after(descriptor({ snapshots })).snapshotSeqs
  const isLost = (snapshots: Snapshot[]): boolean => views.after(descriptor({ snapshots })).lost(views)
  t.same(seqsAfter([...list, snapshot(12)]), [3, 7, 9, 12])
  t.notOk(isLost([...list, snapshot(12)]))
  t.same(seqsAfter([...list, snapshot(5)]), [3, 5, 7, 9], 'a pin stands where its clone was made from')
  t.notOk(isLost([...list, snapshot(5)]))
  t.same(seqsAfter([list[0]!, list[2]!]), [3, 9])
  t.ok(isLost([list[0]!, list[2]!]))
  t.same(seqsAfter([list[0]!, list[2]!, snapshot(12)]), [3, 9, 12])
  t.ok(isLost([list[0]!, list[2]!, snapshot(12)]), 'as many as before, and one is gone')
  t.notOk(isLost([snapshot(3), snapshot(7), snapshot(9)]), 'the same ones, told anew')
  t.ok(isLost([]))
  t.end()
})

t.test('what a rollback hides may be shown again while there is a snapshot to go to, and not behind it', (t) => {
  const snapshots = [snapshot(3)]
  t.equal(new Views(descriptor({ snapshots, rollbacks: [[3, 5]] })).mayGoForth, true)
  t.equal(new Views(descriptor({ snapshots, rollbacks: [] })).mayGoForth, false)
  t.equal(new Views(descriptor({ snapshots: [], rollbacks: [[3, 5]] })).mayGoForth, false)
  t.end()
})
