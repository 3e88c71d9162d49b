/**
 * Data workers of two nodes as threads, told by messages only, as the daemon does it: a copy each, peers whose
 * connections arrive at the main thread, configurations asked of it, and a client at the node that does not lead.
 */
import { once } from 'node:events'
import path from 'node:path'
import t from 'tap'
import { SCRUB_DEFAULTS } from '../../dataplane/copy/scrub-options.ts'
import type { Test } from 'tap'
import { clock } from '../../dataplane/clock.ts'
import { answerConfigs } from '../../dataplane/copy/config-messages.ts'
import { prepareDisk } from '../../dataplane/disk-preparation.ts'
import { VolumeExports } from '../../dataplane/export-directory.ts'
import { NbdListener } from '../../dataplane/nbd/listener.ts'
import { NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE } from '../../dataplane/nbd/protocol.ts'
import { PeerListener } from '../../dataplane/peer/listener.ts'
import { RefusalLog } from '../../dataplane/peer/refusal-log.ts'
import { WorkerThread } from '../../dataplane/worker-thread.ts'
import { NBD_ERRNO } from '../../engine/errors.ts'
import type { RecordId } from '../../engine/replication/record-id.ts'
import type { ControlChange, SnapshotTitle } from '../../engine/replication/record.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { configOf, hex, specOf, TEST_TIMING } from './copy/hosts.ts'
import { MemoryConfigs } from './copy/memory-configs.ts'
import { RawClient } from './nbd/raw-client.ts'

const CLUSTER = hex()

async function startNode(t: Test, node: string, configs: MemoryConfigs) {
  const dir = temporaryFolder(t)
  const option = { path: path.join(dir, 'disk'), sizeBytes: 320 * MIB, pool: 'default', tags: [] }
  const prepared = prepareDisk(option, { nodeName: node, nodeId: hex(), clusterId: CLUSTER }, 1)
  if (!prepared.ok) throw prepared.error
  let isStopped = false
  /** How often it said that other copies lead. */
  const told = { leads: 0 }
  /** Of its log. */
  const events: string[] = []
  const log = { event: (_: string, message: string): void => void events.push(message) }
  const exports = new VolumeExports()
  const nbd = new NbdListener({ exports, onSession: (session) => worker.session(session) })
  const worker = new WorkerThread({
    start: {
      disks: [prepared.value], indexDir: path.join(dir, 'index'), worker: 0, workers: 1,
      barrier: new SharedArrayBuffer(4),
      replication: {
        clusterId: CLUSTER, node, instance: hex(), startNumber: Number(node.slice(1)), timing: TEST_TIMING,
        scrub: SCRUB_DEFAULTS, suspectDisks: [],
        evidenceDir: path.join(dir, 'evidence'),
        lostDisks: [],
        homes: new Map(),
        nodeId: hex(),
        clusterKey: undefined,
      },
    },
    log,
    onBug: (error) => {
      if (!isStopped) throw error
    },
    onSessionEnded: (session) => nbd.sessionEnded(session),
    onConfigAsk: (ask) => answers.take(ask),
    onLeadsChanged: () => void told.leads++,
  })
  const answers = answerConfigs(configs, (answer) => worker.config(answer))
  const listener = new PeerListener({
    clock, log: new RefusalLog({ log, clock, everyMs: 1000 }), onArrival: (arrival) => worker.arrival(arrival),
  })
  const endpoint = { path: path.join(dir, 'peer') }
  await listener.listenUnix(endpoint.path)
  const socketPath = path.join(dir, 'nbd')
  await nbd.listenUnix(socketPath)
  await worker.opened()
  t.teardown(async () => {
    isStopped = true
    await nbd.close()
    await worker.call<'stop'>({ kind: 'stop', drainMs: 0 })
    answers.end()
    await listener.close()
    await worker.end()
  })
  return { node, worker, endpoint, exports, socketPath, told, events }
}

/** Made, told and deleted by who leads, each order once. */
async function snapshots(t: Test, primary: WorkerThread, replica: WorkerThread, volumeId: string): Promise<void> {
  const query = { volumeId, ids: [], names: [], after: { seq: 0, id: '' }, limit: 10 }
  const tell = (worker: WorkerThread) => worker.replicationCall<'snapshots'>({ kind: 'snapshots', query })
  await t.rejects(tell(replica), { code: 'copy-refused' })
  const none = await tell(primary)
  t.match(none, { count: 0, snapshots: [], sizeBytes: 16 * MIB })
  const title = { name: 'daily', createdAtMs: 5, labels: { app: 'db' } }
  const order = (change: ControlChange, expected: RecordId) =>
    primary.replicationCall<'change'>({ kind: 'change', volumeId, change, expected })
  const snapshot = { operation: 'snapshot', id: hex(), title } as const
  const { seq } = await order(snapshot, none.changed)
  await t.rejects(order(snapshot, none.changed), { code: 'change-superseded' })
  const one = await tell(primary)
  const alone = { exclusiveBytes: 0, exclusiveAtMs: 0 }
  t.same(one.snapshots, [{ id: snapshot.id, seq, sizeBytes: 16 * MIB, ...title, group: '', ...alone }])
  t.same(one.changed, { epoch: one.epoch, seq })
  const rollback = { operation: 'rollback', to: snapshot.id } as const
  const late = primary.replicationCall<'change'>({ kind: 'change', volumeId, change: rollback, unusedSince: 99 })
  await t.rejects(late, { code: 'change-superseded' }, 'of an attach generation that was never given')
  const used = primary.replicationCall<'change'>({ kind: 'change', volumeId, change: rollback, unusedSince: 0 })
  await t.rejects(used, { code: 'rollback-in-use' })
  await order({ operation: 'snapshot-delete', id: snapshot.id }, one.changed)
  t.match(await tell(primary), { count: 0, snapshots: [] })
}

/** What a client may ask for, and a peer would take for no message. */
async function longNames(t: Test, [n1, n2]: Array<Awaited<ReturnType<typeof startNode>>>, spec: VolumeSpec) {
  const open = (wanted: string) => {
    const wish = { spec, wanted, ioTimeoutMs: 0 }
    return n2!.worker.replicationCall<'open-snapshot'>({ kind: 'open-snapshot', wish, waitMs: 2000 })
  }
  for (const wanted of ['x'.repeat(65), 'x'.repeat(64), 'A', '']) t.equal(await open(wanted), null, `"${wanted}"`)
  t.equal(await open('x'.repeat(63)), null, 'nor is there one of a name')
  const change = (title: SnapshotTitle) => n1!.worker.replicationCall<'change'>({
    kind: 'change', volumeId: spec.id, change: { operation: 'snapshot', id: hex(), title },
  })
  const title = { name: 'x'.repeat(65), createdAtMs: 5, labels: {} }
  await t.rejects(change(title), { code: 'copy-refused' }, 'what no other copy would take is not ordered')
  t.notOk([...n1!.events, ...n2!.events].includes('connection ended'))
}

t.test('workers of two nodes serve a volume at either', async (t) => {
  const configs = new MemoryConfigs()
  const nodes = await Promise.all(['n1', 'n2'].map((node) => startNode(t, node, configs)))
  const [n1, n2] = nodes as [typeof nodes[0], typeof nodes[0]]
  n1.worker.peers([{ node: 'n2', worker: 0, endpoint: n2.endpoint }])
  n2.worker.peers([{ node: 'n1', worker: 0, endpoint: n1.endpoint }])
  const spec = specOf({ name: 'data', sizeBytes: 8 * MIB, replicas: 1 })
  const offer = { kind: 'offer', spec, ioTimeoutMs: 0 } as const
  await t.rejects(n2.worker.replicationCall<'offer'>(offer), { code: 'volume-not-ready' }, 'it has no configuration')
  const ids = nodes.map(() => hex())
  await Promise.all(nodes.map(({ worker }, i) =>
    worker.replicationCall<'make-copy'>({ kind: 'make-copy', spec, copyId: ids[i]!, source: undefined })))
  const another = { kind: 'make-copy', spec, copyId: hex(), source: undefined } as const
  const again = n1.worker.replicationCall<'make-copy'>(another)
  await t.rejects(again, { code: 'copy-exists' }, 'one copy a volume')
  configs.put(configOf(spec.id, { n1: ids[0]!, n2: ids[1]! }))
  await n2.worker.replicationCall<'offer'>(offer)
  n2.exports.offer({ spec }, 0)

  const client = await RawClient.open(n2.socketPath, { name: spec.id })
  const data = Buffer.alloc(BLOCK_BYTES, 7)
  t.equal((await client.ask({ type: NBD_CMD_WRITE, offset: 0, length: BLOCK_BYTES, data })).errno, 0, 'written, by id')
  t.same([n1.told.leads, n2.told.leads], [1, 0], 'who leads says so by itself, once until it is asked')
  const other = await RawClient.open(n2.socketPath, { name: 'data' })
  const { errno, data: read } = await other.ask({ type: NBD_CMD_READ, offset: 0, length: BLOCK_BYTES })
  t.same([errno, read.equals(data)], [0, true], 'and read, by name')

  await longNames(t, nodes, spec)
  const resized = 16 * MIB
  const change = { operation: 'resize', sizeBytes: resized } as const
  await t.rejects(n2.worker.replicationCall<'change'>({ kind: 'change', volumeId: spec.id, change }),
    { code: 'copy-refused' }, 'only who leads changes a volume')
  await n1.worker.replicationCall<'change'>({ kind: 'change', volumeId: spec.id, change })
  await n2.worker.replicationCall<'offer'>({ ...offer, spec: { ...spec, sizeBytes: resized } })
  const beyond = await client.ask({ type: NBD_CMD_READ, offset: resized - BLOCK_BYTES, length: BLOCK_BYTES })
  t.equal(beyond.errno, 0, 'an open session sees the new size')

  await snapshots(t, n1.worker, n2.worker, spec.id)
  const shrink = { operation: 'shrink', sizeBytes: 8 * MIB } as const
  const small = { kind: 'change', volumeId: spec.id, change: shrink } as const
  const far = { offset: resized - BLOCK_BYTES, length: BLOCK_BYTES }
  t.equal((await client.ask({ type: NBD_CMD_WRITE, ...far, data })).errno, 0)
  const occupied = { code: 'volume-occupied', message: /4096 bytes of data/ }
  await t.rejects(n1.worker.replicationCall<'change'>(small), occupied)
  t.equal((await client.ask({ type: NBD_CMD_TRIM, ...far })).errno, 0)
  await n1.worker.replicationCall<'change'>(small)
  t.equal((await client.ask({ type: NBD_CMD_WRITE, ...far, data })).errno, NBD_ERRNO.ENOSPC, 'before it is told')
  await n2.worker.replicationCall<'offer'>({ ...offer, spec })
  t.equal((await client.ask({ type: NBD_CMD_WRITE, ...far, data })).errno, NBD_ERRNO.ENOSPC, 'and behind that')
  t.equal((await client.ask({ type: NBD_CMD_READ, ...far })).errno, NBD_ERRNO.EINVAL)
  const last = { offset: 8 * MIB - BLOCK_BYTES, length: BLOCK_BYTES }
  t.equal((await client.ask({ type: NBD_CMD_WRITE, ...last, data })).errno, 0)
  await n1.worker.replicationCall<'hand-over'>({ kind: 'hand-over', volumeId: spec.id, to: 'n2' })
  t.equal(configs.get(spec.id).primary, 'n2')
  const after = await client.ask({ type: NBD_CMD_WRITE, offset: 0, length: BLOCK_BYTES, data })
  t.equal(after.errno, 0, 'it goes on there')

  n2.exports.withdraw('data')
  await n2.worker.replicationCall<'withdraw'>({ kind: 'withdraw', volumeId: spec.id })
  for (const one of [client, other]) if (!one.closed) await once(one.socket, 'end')
  t.pass('clients of what is not offered any more are ended')
  const erase = { kind: 'erase-copy', volumeId: spec.id } as const
  const stranger = n1.worker.replicationCall<'erase-copy'>({ ...erase, copyId: hex() })
  await t.rejects(stranger, { code: 'copy-not-found' }, 'only the copy that was meant is erased')
  await n1.worker.replicationCall<'erase-copy'>({ ...erase, copyId: ids[0]! })
  client.close()
  other.close()
})
