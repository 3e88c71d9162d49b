/**
 * A frontend on a bench: what it sends, answers and asks for is kept in lists, and the test plays everybody else.
 * Bytes are cells of 1024 B, a number each, so that merges can be seen.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { createFrontend, stepFrontend } from '../../../engine/replication/frontend.ts'
import type {
  ClientAnswer,
  ComposedWrite,
  FrontendEvent,
  FrontendOptions,
  FrontendPort,
} from '../../../engine/replication/frontend-port.ts'
import { assertFrontend } from '../../../engine/replication/frontend-state.ts'
import type { FrontendMessage, FrontendResult } from '../../../engine/replication/messages.ts'
import type { BlockVersion, Payload } from '../../../engine/replication/record.ts'
import type { ClientOperation } from '../../../engine/replication/request-parts.ts'

export const CELL_BYTES = 1024
export const CELLS_PER_BLOCK = 4
export const SIZE_BYTES = 4 * 2 ** 30

export type Request = Extract<FrontendMessage, { type: 'request' }>

export const OPTIONS: FrontendOptions = {
  session: { generation: 3, incarnation: 7 },
  mode: 'write',
  ioTimeoutMs: 60_000,
  resendMs: 1000,
  retryMs: 100,
  partBytesMax: 1 << 20,
  inFlightPartsMax: 64,
  inFlightBytesMax: 8 << 20,
}

export const configOf = (epoch: number, primary: string): VolumeConfig => ({
  volumeId: 'v',
  epoch,
  primary,
  inSync: [primary],
  members: { [primary]: { copyId: primary, state: 'in-sync' } },
  minInSync: 1,
  attach: { generation: 3, mode: 'single', holders: { n1: 3 } },
  nonce: `${epoch}`,
})

/** `cells` of a write whose client gave an array of cells, merged with the cells of the old blocks. */
export function composeCells({
  data,
  fromBytes,
  skipBytes,
  lengthBytes,
  lba,
  blockCount,
  old,
}: ComposedWrite): Payload {
  const cells: number[] = new Array(blockCount * CELLS_PER_BLOCK).fill(0)
  for (const version of old) {
    const at = (version.lba - lba) * CELLS_PER_BLOCK
    cellsOf(version).forEach((cell, index) => (cells[at + index] = cell))
  }
  for (let i = 0; i < lengthBytes / CELL_BYTES; i++) {
    cells[skipBytes / CELL_BYTES + i] = data === undefined ? 0 : (data as number[])[fromBytes / CELL_BYTES + i]!
  }
  return { bytes: blockCount * 4096, data: cells }
}

export const cellsOf = (version: BlockVersion | undefined): number[] =>
  (version?.payload?.data as number[] | undefined) ?? [0, 0, 0, 0]

export class FrontendBench {
  state
  nowMs = 1000
  /** Everything sent and not yet looked at. */
  sent: Array<{ to: string; message: FrontendMessage }> = []
  /** Cells of payloads that are not sent again. */
  ended: number[][] = []
  answers = new Map<number, ClientAnswer>()
  reads: number[] = []
  wakeAtMs: number | undefined
  private readonly port: FrontendPort

  constructor(options: Partial<FrontendOptions> = {}) {
    this.state = createFrontend({ ...OPTIONS, ...options })
    this.port = {
      send: (to, message) => void this.sent.push({ to, message: structuredClone(message) }),
      answer: (_connection, tag, answer) => {
        if (this.answers.has(tag)) throw new Error(`request ${tag} is answered twice`)
        this.answers.set(tag, answer)
      },
      readConfig: (token) => void this.reads.push(token),
      wakeAt: (atMs) => void (this.wakeAtMs = Math.min(atMs, this.wakeAtMs ?? Infinity)),
      compose: composeCells,
      composedEnded: ({ data }) => void this.ended.push(data as number[]),
    }
  }

  /** One step on a copy of the state, so that nothing in it can be but data. */
  step(event: FrontendEvent): void {
    this.state = structuredClone(this.state)
    stepFrontend(this.state, event, this.nowMs, this.port)
    assertFrontend(this.state)
  }

  /** Tick when asked for, up to a time. */
  passTo(nowMs: number): void {
    while (this.wakeAtMs !== undefined && this.wakeAtMs <= nowMs) {
      this.nowMs = Math.max(this.nowMs, this.wakeAtMs)
      this.wakeAtMs = undefined
      this.step({ type: 'tick' })
    }
    this.nowMs = nowMs
  }

  pass(ms: number): void {
    this.passTo(this.nowMs + ms)
  }

  /** Answer the last read of the configuration. */
  config(epoch: number, primary: string): void {
    const value = { config: configOf(epoch, primary), version: `${epoch}` }
    this.step({ type: 'config-read', token: this.reads.at(-1)!, value, ok: true })
  }

  hint(epoch: number, primary: string): void {
    this.step({ type: 'config-hint', value: { config: configOf(epoch, primary), version: `${epoch}` } })
  }

  from(node: string, message: FrontendMessage): void {
    this.step({ type: 'message', from: node, message })
  }

  opened(epoch: number, node: string): void {
    const { session } = this.state.options
    this.from(node, { type: 'opened', session, epoch, sizeBytes: SIZE_BYTES })
  }

  /** Look, learn the primary, open. */
  open(epoch = 1, node = 'a'): this {
    this.step({ type: 'tick' })
    this.config(epoch, node)
    this.opened(epoch, node)
    this.sent = this.sent.filter(({ message }) => message.type !== 'open')
    return this
  }

  ask(tag: number, operation: ClientOperation, connection = 1): void {
    this.step({ type: 'request', connection, tag, operation })
  }

  /** Cells of 1024 B from a cell. */
  write(tag: number, cell: number, data: number[], connection = 1): void {
    const range = { offsetBytes: cell * CELL_BYTES, lengthBytes: data.length * CELL_BYTES }
    this.ask(tag, { type: 'write', ...range, data, fua: false }, connection)
  }

  /** One whole block of one value. */
  block(tag: number, lba: number, value: number, connection = 1): void {
    this.write(tag, lba * CELLS_PER_BLOCK, [value, value, value, value], connection)
  }

  read(tag: number, lba: number, blockCount = 1, connection = 1): void {
    this.ask(tag, { type: 'read', offsetBytes: lba * 4096, lengthBytes: blockCount * 4096 }, connection)
  }

  /** The requests sent since the last call. */
  requests(): Request[] {
    const requests = this.sent.map(({ message }) => message).filter((one) => one.type === 'request')
    this.sent = []
    return requests
  }

  /** The only one. */
  request(): Request {
    const requests = this.requests()
    if (requests.length !== 1) throw new Error(`${requests.length} requests were sent`)
    return requests[0]!
  }

  reply({ id }: Request, result: FrontendResult = { ok: true, versions: [] }, epoch = 1, node = 'a'): void {
    this.from(node, { type: 'reply', id, epoch, result })
  }
}

export const versionOf = (lba: number, seq: number, cells: number[]): BlockVersion => ({
  epoch: 1,
  seq,
  lba,
  kind: 'write',
  payload: { bytes: 4096, data: cells },
})
