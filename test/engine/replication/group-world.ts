/**
 * Two volumes, each with its primary, and group snapshots of both: orders are late, come twice and in any order, holds
 * run out, disks stand still for a moment, and a client writes here and there, the next one when the one before was
 * answered, or several at once. What was taken of both is held against what the client saw.
 */
import type { OperatorCommand } from '../../../engine/replication/copy-port.ts'
import type { RecordId } from '../../../engine/replication/record-id.ts'
import { Random } from '../../sim/random.ts'
import { checkGroup, type GroupMember } from '../../sim/cluster/checker/group-order.ts'
import type { ClientOperation, LoggedRecord, Violation } from '../../sim/cluster/checker/history.ts'
import { Copies } from './copies.ts'

const STEPS = 400
const LBAS = 48
const HOLD_MS = 100

interface Sent {
  volume: Volume
  command: OperatorCommand
  answered(seq: number | undefined): void
}

interface Pending {
  op: ClientOperation
  number: number
}

class Volume {
  readonly copies = new Copies({ nodes: 1 })
  readonly operations: ClientOperation[] = []
  readonly log: LoggedRecord[] = []
  readonly name: string
  private pending: Pending[] = []
  private written = 0

  constructor(name: string) {
    this.name = name
    this.copies.run(500)
    this.copies.open()
  }

  get changed(): RecordId {
    return this.copies.node('n1').state.primary!.changed
  }

  get isBusy(): boolean {
    return this.pending.length > 0
  }

  write(at: number, isNarrow: boolean): void {
    const lba = this.written++ % LBAS
    if (this.pending.some(({ op }) => op.lba === lba)) return
    if (isNarrow) this.copies.isStalled = () => true
    const edges: Array<[number, number]> = isNarrow ? [[lba, this.seqAt(lba)]] : []
    const number = this.copies.write(lba, this.written, 'n1', edges)
    const op: ClientOperation = {
      client: 'c', request: `${this.name}${number}`, kind: 'write', lba, blockCount: 1, stamps: [], start: at,
      end: Infinity, result: 'none', seq: 0,
    }
    this.operations.push(op)
    this.pending.push({ op, number })
  }

  /** What the client hears now. @returns how many answers came */
  settle(at: number): number {
    this.copies.isStalled = () => false
    this.copies.settle()
    const before = this.pending.length
    this.pending = this.pending.filter(({ op, number }) => {
      const answer = this.copies.answerOf(number)
      if (answer === undefined) return true
      op.end = at
      op.result = answer.ok ? 'ok' : answer.code
      if (answer.ok) this.log.push(recordOf(op, this.seqAt(op.lba)))
      return false
    })
    return before - this.pending.length
  }

  private seqAt(lba: number): number {
    const stall = this.copies.isStalled
    this.copies.isStalled = () => false
    const request = this.copies.ask({ type: 'read', lba, blockCount: 1 })
    this.copies.settle()
    this.copies.isStalled = stall
    const answer = this.copies.answerOf(request)
    return answer?.ok === true ? (answer.versions[0]?.seq ?? 0) : 0
  }
}

const recordOf = ({ lba, request }: ClientOperation, seq: number): LoggedRecord =>
  ({ epoch: 1, seq, kind: 'write', lba, blockCount: 1, stamps: [], request, change: undefined })

export function runGroups(seed: number): { taken: number; held: number; violations: Violation[] } {
  const random = new Random(`groups ${seed}`)
  const volumes = [new Volume('a'), new Volume('b')]
  const way: Sent[] = []
  const violations: Violation[] = []
  let at = 0
  let taken = 0
  let held = 0
  let groups = 0

  const send = (sent: Sent): void => {
    way.push(sent)
    if (random.chance(0.3)) way.push({ ...sent, answered: () => {} })
  }
  const all = (command: (volume: Volume) => OperatorCommand, done: (seqs: number[]) => void): void => {
    const seqs = new Map<Volume, number>()
    for (const volume of volumes) {
      const answered = (seq: number | undefined): void => {
        if (seq !== undefined) seqs.set(volume, seq)
        if (seqs.size === volumes.length) done(volumes.map((one) => seqs.get(one)!))
      }
      send({ volume, command: command(volume), answered })
    }
  }
  const begin = (): void => {
    const id = `g${++groups}`
    const expected = new Map(volumes.map((one) => [one, one.changed]))
    const about = (volume: Volume) => ({ expected: expected.get(volume)!, hold: id })
    all((volume) => ({ type: 'hold', holdMs: HOLD_MS, ...about(volume) }), () => {
      held++
      const change = { operation: 'snapshot', id } as const
      all((volume) => ({ type: 'change', change, ...about(volume) }), (seqs) => check(id, seqs))
    })
  }
  const check = (id: string, seqs: number[]): void => {
    taken++
    for (const volume of volumes) volume.settle(++at)
    const members = volumes.map(({ name, operations, log }, i): GroupMember =>
      ({ volume: name, seq: seqs[i]!, operations, log }))
    violations.push(...checkGroup(id, members))
  }

  begin()
  for (let step = 0; step < STEPS && violations.length === 0; step++) {
    at++
    const volume = random.pick(volumes)
    const what = random.float()
    if (what < 0.55) {
      if (!volume.isBusy || random.chance(0.1)) volume.write(at, random.chance(0.2))
      if (random.chance(0.8)) volume.settle(++at)
    } else if (what < 0.85 && way.length > 0) {
      const [sent] = way.splice(random.between(0, way.length - 1), 1) as [Sent]
      const { copies } = sent.volume
      // What its disk owes an answer to comes behind the order.
      const token = copies.results.size + 1
      copies.event('n1', { type: 'command', token, command: sent.command })
      if (random.chance(0.7)) sent.volume.settle(++at)
      const end = copies.results.get(token) ?? (sent.volume.settle(++at), copies.results.get(token))
      sent.answered(end?.ok === true ? end.seq : undefined)
    } else if (what < 0.95) {
      const ms = random.between(1, HOLD_MS / 2)
      for (const one of volumes) {
        one.copies.run(ms)
        one.settle(++at)
      }
    } else begin()
  }
  return { taken, held, violations }
}
