/**
 * A node of a test or benchmark as a process of its own: a `Host` with a client of the cluster store, told by messages
 * of its parent what to do. It is killed like any process.
 */
import { connectEtcdStore } from '../../../cluster/store/etcd-store.ts'
import { StoreConfigs } from '../../../dataplane/copy/store-configs.ts'
import type { CopyTiming } from '../../../dataplane/copy/timing.ts'
import type { PeerEndpoint } from '../../../dataplane/peer/peer-socket.ts'
import type { CommandResult } from '../../../engine/replication/copy-port.ts'
import type { Session } from '../../../engine/replication/record.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { contentOf } from './copy-content.ts'
import { Host } from './hosts.ts'
import type { Device } from './hosts.ts'
import { runLoad } from './load.ts'
import type { Load, LoadResult } from './load.ts'
import { block, Writer } from './stamp-writer.ts'

export interface NodeStart {
  node: string
  dir: string
  storeAddress: string
  timing: CopyTiming
  diskBytes?: number
}

export interface CopyStatus {
  role: string
  tail: number
  appliedSeq: number
  why: string | undefined
}

export interface WriterReport {
  written: number
  errors: number[]
  /** Longest wait for an answer. */
  longestMs: number
  model: number[]
}

/** What a parent may ask, each answered once. */
export interface NodeCalls {
  start(start: NodeStart): Promise<{ endpoint: PeerEndpoint; instance: string }>
  meet(hosts: Array<{ node: string; endpoint: PeerEndpoint }>): Promise<void>
  create(spec: VolumeSpec, copyId: string): Promise<void>
  attach(spec: VolumeSpec, session: Session): Promise<void>
  status(volumeId: string): Promise<CopyStatus>
  handOver(volumeId: string, to: string): Promise<CommandResult>
  content(volumeId: string, blockCount: number): Promise<string[]>
  beginWriter(blockCount: number): Promise<void>
  written(): Promise<number>
  endWriter(): Promise<WriterReport>
  /** @returns blocks that do not hold what they have to */
  verify(model: number[]): Promise<number[]>
  load(load: Load): Promise<LoadResult>
  /** Of this process, since it began. */
  cpuUs(): Promise<number>
  stop(): Promise<void>
}

let host: Host
let device: Device
let writer: Writer

const calls: NodeCalls = {
  async start({ node, dir, storeAddress, timing, diskBytes }) {
    const store = connectEtcdStore({ addresses: storeAddress })
    const log = { event: () => undefined }
    const configs = new StoreConfigs({ store, log })
    host = new Host({
      node, dir, configs, timing, host: '127.0.0.1', ...(diskBytes === undefined ? {} : { diskBytes }),
    })
    await host.start()
    return { endpoint: host.endpoint, instance: host.instance }
  },
  async meet(hosts) {
    host.meet(hosts)
  },
  async create(spec, copyId) {
    await host.create(spec, copyId)
  },
  async attach(spec, session) {
    device = host.attach(spec, session)
  },
  async status(volumeId) {
    const state = host.worker.copies.copy(volumeId)?.state
    if (state === undefined) return { role: 'none', tail: 0, appliedSeq: 0, why: undefined }
    const { role, log, fencedBecause } = state
    return { role, tail: log.tail, appliedSeq: log.appliedSeq, why: fencedBecause }
  },
  handOver(volumeId, to) {
    const copy = host.worker.copies.copy(volumeId)!
    return new Promise((resolve) => copy.command({ type: 'hand-over', to }, resolve))
  },
  async content(volumeId, blockCount) {
    return contentOf(host.worker.copies.copy(volumeId)!, blockCount)
  },
  async beginWriter(blockCount) {
    writer = new Writer(device, blockCount)
  },
  async written() {
    return writer.written
  },
  async endWriter() {
    await writer.stop()
    const { written, errors, longestMs, model } = writer
    return { written, errors, longestMs, model: [...model] }
  },
  async verify(model) {
    const into = Buffer.alloc(model.length * BLOCK_BYTES, 255)
    const errno = await device.read(0, into)
    if (errno !== 0) throw new Error(`the read ended with ${errno}`)
    const isRight = (lba: number): boolean =>
      into.subarray(lba * BLOCK_BYTES, (lba + 1) * BLOCK_BYTES).equals(block(model[lba]!))
    return model.map((_, lba) => lba).filter((lba) => !isRight(lba))
  },
  load: (load) => runLoad(device, load),
  async cpuUs() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
  async stop() {
    await host.stop()
  },
}

process.on('message', ({ id, call, args }: { id: number; call: keyof NodeCalls; args: unknown[] }) => {
  const run = calls[call] as (...args: unknown[]) => Promise<unknown>
  void run(...args).then(
    (value) => process.send!({ id, value }),
    (error: unknown) => process.send!({ id, error: error instanceof Error ? error.stack : String(error) }),
  )
})
// With its parent it ends.
process.on('disconnect', () => process.exit(0))
