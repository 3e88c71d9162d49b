/**
 * I4, I5, I10, I11, I15-I17, I21: there is one log. Every copy applies the same record at the same seq; nothing
 * applied is replaced, but in a new era. Who applies a record first leads: the others wait until it is committed (W5).
 * In the end, healthy and quiet, all members hold the same blocks and the same snapshots, and these are what the log
 * says.
 */
import type { Durability } from '../../../../engine/replication/record.ts'
import { replay, type Base, type Era, type LoggedRecord, type Violation } from './history.ts'

const bad = (message: string): Violation => ({ checker: 'copies-identical', message })

/** The log as it is applied, and the eras it has gone through. */
export class CommittedLog {
  readonly eras: Era[]
  /** Of each request in the present era. */
  private readonly ids = new Map<string, { epoch: number; seq: number }>()
  /** By epoch and seq, what was committed late: it is in no era's log. */
  private readonly lateOnes = new Map<string, LoggedRecord>()
  private readonly forcedEpochs: number[] = []
  /** Changes of the durability, of all eras. */
  private readonly durabilities: LoggedRecord[] = []

  /** @param born  of a clone: what it began as, and the records of its origin up to there */
  constructor(born?: { base: Base; records: readonly LoggedRecord[] }) {
    const ids = (born?.records ?? []).map(({ epoch, seq }): LoggedRecord => {
      return { epoch, seq, kind: 'control', lba: 0, blockCount: 0, stamps: [], request: '', change: undefined }
    })
    const first = { from: 0, cutSeq: ids.length, log: ids }
    this.eras = [born === undefined ? first : { ...first, base: born.base }]
  }

  /** Of a clone: what it began as. */
  get base(): Base | undefined {
    return this.eras[0]!.base
  }

  get log(): LoggedRecord[] {
    return this.eras.at(-1)!.log
  }

  idOf(request: string): { epoch: number; seq: number } | undefined {
    return this.ids.get(request)
  }

  /** Of what stands right behind this seq, as far as it is committed. @param first  as the volume was made */
  durabilityBehind(seq: number, first: Durability): Durability {
    return this.durabilityChanges().findLast((one) => one.seq <= seq)?.to ?? first
  }

  /** In order of seq, of the present era. */
  durabilityChanges(): Array<{ seq: number; to: Durability }> {
    return this.durabilities.flatMap((one) => {
      const { change, seq } = one
      return this.log[seq - 1] === one && change?.operation === 'durability' ? [{ seq, to: change.to }] : []
    })
  }

  /** C9: a primary was forced. What was committed before it began may be lost. */
  forced(epoch: number): void {
    this.forcedEpochs.push(epoch)
  }

  /** Whether who leads under this epoch was forced, or came after one who was, and nothing of a forced epoch began. */
  isForced(epoch: number): boolean {
    const last = this.log.at(-1)?.epoch ?? 0
    return this.forcedEpochs.some((forced) => epoch >= forced && last < forced)
  }

  /** Out of the set a copy commits, or is told of, what is lost: all that do so tell one history. */
  late(node: string, record: LoggedRecord, leads: boolean): Violation[] {
    const key = `${record.epoch}.${record.seq}`
    const known = this.lateOnes.get(key)
    if (known !== undefined && !isSame(known, record)) {
      return [bad(`${node} applies ${describe(record)}, and ${describe(known)} ended late there before`)]
    }
    if (known !== undefined || this.eras.some(({ log }) => isKnown(log, record))) return []
    if (!leads) return [bad(`${node} applies ${describe(record)} before its primary`)]
    this.lateOnes.set(key, record)
    return []
  }

  /**
   * A copy applies a record. `mayLose`: whether what is committed from this seq on may be lost. `isOut`: nobody reads
   * it, and it may still be told of an era that has ended, or end it late. `leads`: it decides what is committed, under
   * this epoch, behind a record of epoch `before`.
   */
  applied(
    node: string,
    record: LoggedRecord,
    at: number,
    mayLose: (seq: number) => boolean,
    { isOut = false, leads = true, epoch = record.epoch, before }: {
      isOut?: boolean
      leads?: boolean
      epoch?: number
      before?: number
    } = {},
  ): Violation[] {
    const { seq } = record
    if (leads && before !== undefined && this.isForced(epoch)) this.goBack(seq - 1, before, at)
    // Later eras may have been cut behind it.
    const since = this.eras.findLastIndex(
      ({ cutSeq, log }) => seq > cutSeq && record.epoch < (log[cutSeq]?.epoch ?? 0),
    )
    if (isOut && since >= 0) {
      const lost = this.eras.slice(0, since).flatMap(({ log }) => log[seq - 1] ?? [])
      if (lost.length === 0) return this.late(node, record, leads)
      if (lost.some((one) => isSame(one, record))) return []
    }
    const known = this.log[seq - 1]
    if (known === undefined) {
      if (seq !== this.log.length + 1) {
        return [bad(`${node} applies seq ${seq}, and nobody has applied seq ${this.log.length + 1}`)]
      }
      this.add(record)
      return leads ? [] : [bad(`${node} applies ${describe(record)} before its primary`)]
    }
    if (isSame(known, record)) return []
    if (epoch > known.epoch && (this.isForced(epoch) || mayLose(seq))) {
      this.begin({ ...this.eras[0]!, from: at, cutSeq: seq - 1, log: this.log.slice(0, seq - 1) })
      this.add(record)
      return []
    }
    return [bad(`${node} applies ${describe(record)}, and ${describe(known)} was applied there before`)]
  }

  /** Who is forced to lead goes on behind what it has applied, in whatever era that was (C9). */
  private goBack(seq: number, epoch: number, at: number): void {
    if (seq === 0 || this.log[seq - 1]?.epoch === epoch) return
    const former = this.eras.findLast(({ log }) => log[seq - 1]?.epoch === epoch)
    if (former === undefined) return
    const log = former.log.slice(0, seq)
    let cutSeq = 0
    while (cutSeq < seq && this.log[cutSeq] !== undefined && isSame(this.log[cutSeq]!, log[cutSeq]!)) cutSeq++
    this.begin({ ...this.eras[0]!, from: at, cutSeq, log })
  }

  private begin(era: Era): void {
    this.eras.push(era)
    this.ids.clear()
    for (const { request, epoch, seq } of era.log) if (request !== '') this.ids.set(request, { epoch, seq })
  }

  private add(record: LoggedRecord): void {
    this.log.push(record)
    if (record.change?.operation === 'durability') this.durabilities.push(record)
    if (record.request !== '') this.ids.set(record.request, { epoch: record.epoch, seq: record.seq })
  }
}

export interface CopyContent {
  node: string
  /** Per block, of the head: its stamp; absent or 0 = zeroes. */
  head: ReadonlyMap<number, number>
  snapshots: ReadonlyMap<string, ReadonlyMap<number, number>>
}

export function checkContent(copies: readonly CopyContent[], log: readonly LoggedRecord[], base?: Base): Violation[] {
  const violations: Violation[] = []
  const { state } = replay(log, base)
  const expected = (blocks: Map<number, { stamp: number }>) =>
    new Map([...blocks].map(([lba, { stamp }]) => [lba, stamp] as const))
  for (const { node, head, snapshots } of copies) {
    compare(`${node}, head`, expected(state.blocks), head, violations)
    for (const [id, blocks] of state.snapshots) {
      const found = snapshots.get(id)
      if (found === undefined) violations.push(bad(`${node} has no snapshot ${id}`))
      else compare(`${node}, snapshot ${id}`, expected(blocks), found, violations)
    }
    for (const id of snapshots.keys()) {
      if (!state.snapshots.has(id)) violations.push(bad(`${node} has a snapshot ${id} that the log does not have`))
    }
  }
  return violations
}

function compare(
  where: string,
  expected: ReadonlyMap<number, number>,
  found: ReadonlyMap<number, number>,
  violations: Violation[],
): void {
  for (const lba of new Set([...expected.keys(), ...found.keys()])) {
    const want = expected.get(lba) ?? 0
    const have = found.get(lba) ?? 0
    if (want !== have) violations.push(bad(`${where}: block ${lba} holds ${have}, the log says ${want}`))
  }
}

const isKnown = (log: readonly LoggedRecord[], record: LoggedRecord): boolean =>
  log[record.seq - 1] !== undefined && isSame(log[record.seq - 1]!, record)

function isSame(a: LoggedRecord, b: LoggedRecord): boolean {
  return (
    a.epoch === b.epoch &&
    a.kind === b.kind &&
    a.lba === b.lba &&
    a.blockCount === b.blockCount &&
    a.request === b.request &&
    a.stamps.length === b.stamps.length &&
    a.stamps.every((stamp, i) => stamp === b.stamps[i])
  )
}

function describe({ epoch, seq, kind, lba, request, change }: LoggedRecord): string {
  const what = kind === 'control' ? (change?.operation ?? 'control') : `${kind} of block ${lba} by ${request}`
  return `(${epoch}, ${seq}) ${what}`
}
