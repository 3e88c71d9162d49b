/**
 * The least primary a frontend can be held against: one history of blocks, of which a prefix is committed, and epochs
 * in which some node is primary. It keeps what the frontend relies on: windows survive a change of primary, what was
 * committed is never lost, what was only ordered may be; edges are compared with the newest ordered version.
 */
import type { NodeId, VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { FrontendMessage, FrontendOperation, FrontendResult } from '../../../engine/replication/messages.ts'
import type { BlockVersion, RequestId } from '../../../engine/replication/record.ts'
import { cellsOf, configOf, versionOf } from './frontend-bench.ts'
import type { Request } from './frontend-bench.ts'

type Change = Extract<FrontendOperation, { lba: number; fua: boolean }>
type Send = (from: NodeId, message: FrontendMessage) => void

interface Ordered {
  /** undefined: somebody else's write. */
  id: RequestId | undefined
  seq: number
  answeredBelow: number
  blocks: BlockVersion[]
}

export class TinyPrimary {
  epoch = 1
  node: NodeId = 'a'
  configs: VolumeConfig[] = [configOf(1, 'a')]
  /** What each node knows; it may lag. */
  known = new Map<NodeId, { epoch: number; primary: NodeId }>()
  /** Parts ordered or committed, `number.part`. */
  window = new Map<string, 'ordered' | 'committed'>()
  /** Parts that were refused; only looked at to see whether the frontend tells the truth. */
  refused = new Set<string>()
  pending: Ordered[] = []
  committed = new Map<number, BlockVersion>()
  answeredBelow = 1
  /** A part of a request is committed, to these blocks. */
  applied: (id: RequestId, blocks: readonly BlockVersion[]) => void = () => {}
  /** The other writer's last write to a block that is committed. */
  elsewhere = new Map<number, number>()
  /** The highest `answeredBelow` of what is committed: every later primary knows it. */
  private closedBelow = 1
  private isOpen = false
  private lastSeq = 0
  private readonly sizeBytes: number

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes
  }

  receive(node: NodeId, message: FrontendMessage, send: Send, refuse: boolean): void {
    const reply = (one: FrontendMessage): void => send(node, one)
    if (node !== this.node) {
      const known = this.known.get(node)
      // One that does not know that it was deposed can neither commit nor read.
      if (known !== undefined) reply({ type: 'redirect', id: undefined, ...known })
    } else if (message.type === 'open') {
      this.isOpen = true
      reply({ type: 'opened', session: message.session, epoch: this.epoch, sizeBytes: this.sizeBytes })
    } else if (message.type === 'request') {
      if (this.isOpen) this.serve(message, send, refuse)
      else reply({ type: 'redirect', id: message.id, epoch: this.epoch, primary: this.node })
    }
  }

  /** The oldest one that is only ordered is on all copies now. */
  commit(send: Send): void {
    const ordered = this.pending.shift()
    if (ordered === undefined) return
    this.settle(ordered)
    if (ordered.id !== undefined) this.answer(ordered.id, { ok: true, versions: [] }, send)
  }

  /** Another writer changes the last cell of a block. */
  writeElsewhere(lba: number, value: number): void {
    const cells = [...cellsOf(this.newest(lba))]
    cells[3] = value
    this.lastSeq++
    this.pending.push({
      id: undefined,
      seq: this.lastSeq,
      answeredBelow: 1,
      blocks: [versionOf(lba, this.lastSeq, cells)],
    })
  }

  /** The same process goes on in another epoch. */
  evict(): void {
    this.nextEpoch(this.node)
  }

  /**
   * `node` (maybe the same one, restarted) takes over and finds the first `kept` of what was only ordered. The old one
   * may still answer those.
   */
  failOver(node: NodeId, kept: number, send: Send): void {
    const survivors = this.pending.slice(0, kept)
    for (const { id } of this.pending.slice(kept)) if (id !== undefined) this.window.delete(keyOf(id))
    for (const one of survivors) {
      this.settle(one)
      if (one.id !== undefined) this.answer(one.id, { ok: true, versions: [] }, send)
    }
    this.pending = []
    this.isOpen = false
    this.known.delete(node)
    this.nextEpoch(node)
    this.answeredBelow = this.closedBelow
  }

  /** A node that is not primary learns who is. */
  learn(node: NodeId): void {
    if (node !== this.node) this.known.set(node, { epoch: this.epoch, primary: this.node })
  }

  read(lba: number): number[] {
    return cellsOf(this.committed.get(lba))
  }

  private serve({ id, operation, answeredBelow }: Request, send: Send, refuse: boolean): void {
    this.forget(answeredBelow)
    if (operation.type === 'flush') return this.answer(id, { ok: true, versions: [] }, send)
    if (operation.type === 'read') {
      const versions: BlockVersion[] = []
      for (let lba = operation.lba; lba < operation.lba + operation.blockCount; lba++) {
        const version = this.committed.get(lba)
        if (version !== undefined) versions.push(version)
      }
      return this.answer(id, { ok: true, versions }, send)
    }
    if (id.request < this.answeredBelow) return
    const known = this.window.get(keyOf(id))
    if (known === 'committed') this.answer(id, { ok: true, versions: [] }, send)
    if (known !== undefined) return
    if (operation.type === 'write' && operation.edges.some(([lba, seq]) => (this.newest(lba)?.seq ?? 0) !== seq)) {
      return this.answer(id, { ok: false, code: 'edge-changed' }, send)
    }
    if (refuse) {
      this.refused.add(keyOf(id))
      return this.answer(id, { ok: false, code: 'no-space' }, send)
    }
    this.window.set(keyOf(id), 'ordered')
    this.lastSeq++
    this.pending.push({ id, seq: this.lastSeq, answeredBelow, blocks: blocksOf(operation, this.lastSeq) })
  }

  /** Everything below was answered, says the frontend: it must have been ordered here, or refused for good. */
  private forget(below: number): void {
    if (below <= this.answeredBelow) return
    for (let number = this.answeredBelow; number < below; number++) {
      const isOver = this.window.get(`${number}.0`) === 'committed' || this.refused.has(`${number}.0`)
      if (!isOver) throw new Error(`request ${number} was never answered`)
    }
    this.answeredBelow = below
  }

  private settle({ id, blocks, answeredBelow }: Ordered): void {
    this.closedBelow = Math.max(this.closedBelow, answeredBelow)
    for (const version of blocks) this.committed.set(version.lba, version)
    if (id === undefined) {
      this.elsewhere.set(blocks[0]!.lba, cellsOf(blocks[0])[3]!)
      return
    }
    this.window.set(keyOf(id), 'committed')
    this.applied(id, blocks)
  }

  private newest(lba: number): BlockVersion | undefined {
    for (let i = this.pending.length - 1; i >= 0; i--) {
      const version = this.pending[i]!.blocks.find((one) => one.lba === lba)
      if (version !== undefined) return version
    }
    return this.committed.get(lba)
  }

  private answer(id: RequestId, result: FrontendResult, send: Send): void {
    send(this.node, { type: 'reply', id, epoch: this.epoch, result })
  }

  private nextEpoch(node: NodeId): void {
    this.epoch++
    this.node = node
    this.configs.push(configOf(this.epoch, node))
  }
}

const keyOf = (id: RequestId): string => `${id.request}.${id.part}`

function blocksOf(operation: Change, seq: number): BlockVersion[] {
  const cells = operation.type === 'write' ? (operation.payload.data as number[]) : undefined
  return Array.from({ length: operation.blockCount }, (_, i) =>
    versionOf(operation.lba + i, seq, cells?.slice(i * 4, i * 4 + 4) ?? [0, 0, 0, 0]),
  )
}
