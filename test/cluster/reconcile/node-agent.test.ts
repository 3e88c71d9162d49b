/** A node and its controller: what is reported, how old it may be, and which orders are carried out. */
import t from 'tap'
import type { VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { Test } from 'tap'
import { NodeAgent } from '../../../cluster/reconcile/node-agent.ts'
import type { NodeCalls, NodeReport } from '../../../cluster/reconcile/node-calls.ts'
import { StatusIntake } from '../../../cluster/reconcile/status-intake.ts'
import type { Taken } from '../../../cluster/reconcile/status-intake.ts'
import type { Version } from '../../../cluster/store/cluster-store.ts'
import { configKey, encodeConfig } from '../../../cluster/store/volume-configs.ts'
import { encodeVolume, volumeKey } from '../../../cluster/store/volume-records.ts'
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import { MIB } from '../../../engine/units.ts'
import type { VolumeSpec } from '../../../engine/volume/volume-spec.ts'
import { swap } from '../../conformance/cluster-store/calls-suite.ts'
import { storeInProcess } from '../store-in-process.ts'
import { detailsOf } from './control-cluster.ts'
import { FakeNode } from './fake-node.ts'

const specOf = (id: string): VolumeSpec => ({
  id, name: id.slice(0, 4), sizeBytes: MIB, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
  ioTimeoutMs: 0, pool: 'default', diskTags: [],
})
const [A, B] = ['a'.repeat(32), 'b'.repeat(32)]
const RECORD = { minInSync: 0, allowDegraded: false, firstNode: '', attachMode: 'open', trash: null } as const

async function agentOf(t: Test) {
  const store = (await storeInProcess(t)).client()
  const local = new FakeNode('n1', 'process', store)
  const clocks = { nodeMs: 5_000, controllerMs: 90_000 }
  let ticket = 0
  let intake = new StatusIntake(() => `ticket ${++ticket}`)
  const reports: NodeReport[] = []
  const taken: Taken[] = []
  const beats: string[] = []
  const world = { leader: 'first', isDeaf: false, losesAnswers: false, figures: 0 }
  const calls = {
    async report(report: NodeReport) {
      if (world.isDeaf) throw new Error('nobody hears it')
      reports.push(structuredClone(report))
      const found = intake.take(report, clocks.controllerMs)
      if (found.taken !== undefined) taken.push(found.taken)
      if (world.losesAnswers) throw new Error('the answer was lost')
      return { ...found.answer, beats: 'digest', figures: world.figures }
    },
  } as NodeCalls
  const agent = new NodeAgent({
    node: 'n1',
    instance: 'process',
    store,
    local,
    details: () => detailsOf('n1'),
    controller: () => ({ leader: { node: 'n2', api: '', instance: world.leader }, calls }),
    nowMs: () => clocks.nodeMs,
    onChanged: () => undefined,
    onBeats: (digest) => beats.push(digest),
  })
  const another = () => {
    world.leader = 'second'
    intake = new StatusIntake(() => `ticket ${++ticket}`)
  }
  return { store, local, clocks, reports, taken, beats, world, agent, another, intake: () => intake }
}

const shown = ({ isWhole, status, gone }: NodeReport) =>
  ({ isWhole, copies: status.copies.map(({ volumeId }) => volumeId), gone })

t.test('whole at first, then what changed; whole again after a lost answer, and for another controller', async (t) => {
  const { local, reports, taken, beats, world, agent, another, clocks } = await agentOf(t)
  await local.makeCopy(specOf(A))
  await agent.turn()
  t.same(reports.map(shown), [
    { isWhole: true, copies: [A], gone: [] },
    { isWhole: true, copies: [A], gone: [] },
  ], 'the first one has no ticket, and is not taken')
  t.equal(taken.length, 1)
  t.same(beats, ['digest'], 'an answer that it is not taken says nothing of others')

  reports.length = 0
  await local.makeCopy(specOf(B))
  clocks.controllerMs += 1_000
  await agent.turn()
  t.same(reports.map(shown), [{ isWhole: false, copies: [B], gone: [] }])
  t.same(taken.at(-1)!.status.copies.map(({ volumeId }) => volumeId), [A, B], 'put together')
  t.equal(taken.at(-1)!.atMs, 90_000, 'as old as the ticket, not as new as the answer')

  reports.length = 0
  await local.eraseCopy(A, local.copies.get(A)!.copyId)
  world.losesAnswers = true
  await t.rejects(agent.turn())
  world.losesAnswers = false
  await agent.turn()
  t.same(reports.map(shown), [
    { isWhole: false, copies: [], gone: [A] },
    { isWhole: true, copies: [B], gone: [] },
    { isWhole: true, copies: [B], gone: [] },
  ])
  t.same(taken.at(-1)!.status.copies.map(({ volumeId }) => volumeId), [B])

  reports.length = 0
  await local.makeCopy(specOf(A))
  await local.eraseCopy(B, local.copies.get(B)!.copyId)
  await agent.turn()
  await agent.turn()
  t.same(reports.map(shown), [
    { isWhole: false, copies: [A], gone: [B] },
    { isWhole: false, copies: [], gone: [] },
  ], 'one came while another one went')
  t.same(taken.at(-1)!.status.copies.map(({ volumeId }) => volumeId), [A])
  const first = taken.at(-1)!.status.copies[0]
  await agent.turn()
  t.equal(taken.at(-1)!.status.copies[0], first, 'what did not change is the same object')

  reports.length = 0
  another()
  await agent.turn()
  t.same(reports.map(({ isWhole }) => isWhole), [true, true])
})

t.test('a report that was long under way is not taken', async (t) => {
  const { local, reports, taken, agent, intake, clocks } = await agentOf(t)
  await local.makeCopy(specOf(A))
  await agent.turn()
  const late = reports.at(-1)!
  await agent.turn()
  const before = taken.length
  clocks.controllerMs += 60_000
  t.notOk(intake().take(late, clocks.controllerMs).answer.isTaken, 'its ticket was used')
  t.equal(taken.length, before)
})

t.test('an order is as young as a report of this process, or refused', async (t) => {
  const { store, local, agent, clocks } = await agentOf(t)
  await swap(store, volumeKey(A), undefined, Buffer.from(encodeVolume({ spec: specOf(A), ...RECORD })).toString())
  const order = { volumeId: A, instance: 'process', stampMs: clocks.nodeMs }
  clocks.nodeMs += 10_001
  await t.rejects(agent.makeCopy(order), { code: 'order-refused', message: /may be 10 s old/ })
  await t.rejects(agent.handOver({ ...order, to: 'n2' }), { code: 'order-refused' })
  const young = { ...order, stampMs: clocks.nodeMs }
  await t.rejects(agent.makeCopy({ ...young, instance: 'former' }), { message: /former process/ })
  await t.rejects(agent.makeCopy({ ...young, volumeId: B }), { code: 'order-refused', message: /no such volume/ })
  t.match(await agent.makeCopy(young), { copyId: local.copies.get(A)!.copyId })
})

t.test('a copy is erased only by what the node has read itself', async (t) => {
  const { store, local, agent, clocks } = await agentOf(t)
  const { copyId } = await local.makeCopy(specOf(A))
  const order = { volumeId: A, copyId, epoch: 3, instance: 'process', stampMs: clocks.nodeMs }
  await t.rejects(agent.eraseCopy(order), { code: 'order-refused', message: /nothing is known/ })
  const value = Buffer.from(encodeVolume({ spec: specOf(A), ...RECORD })).toString()
  const version = await swap(store, volumeKey(A), undefined, value)
  await swap(store, configKey(A), undefined, 'not a configuration')
  await t.rejects(agent.eraseCopy(order), { code: 'store-record' }, 'what cannot be read is not taken for absent')
  t.equal(local.copies.size, 1)
  t.same(await agent.eraseCopy({ ...order, copyId: 'another' }), {}, 'what is not there is erased')
  const trash = { deletedAtAgeMs: 0, keepMs: 0, isPurging: true }
  const purging = encodeVolume({ spec: specOf(A), ...RECORD, trash })
  await swap(store, volumeKey(A), version, Buffer.from(purging).toString())
  await t.rejects(agent.makeCopy({ ...order, volumeId: A }), { message: /being purged/ })
  await t.rejects(agent.eraseCopy(order), { code: 'store-record' })
  t.equal(local.copies.size, 1)
})

t.test('O2: a copy gets blocks of its own only while the record wishes it', async (t) => {
  const { store, agent, clocks } = await agentOf(t)
  const order = { volumeId: A, instance: 'process', stampMs: clocks.nodeMs }
  const refusal = { code: 'order-refused', message: /nobody wishes that/ }
  await t.rejects(agent.hydrate(order), refusal)
  const origin = { volumeId: B, snapshotId: 's', seq: 3, epoch: 1 }
  const record: VolumeRecord = { spec: specOf(A), ...RECORD, origin }
  let version: Version | undefined
  const put = async (now: VolumeRecord) => {
    version = await swap(store, volumeKey(A), version, Buffer.from(encodeVolume(now)).toString())
  }
  await put(record)
  await t.rejects(agent.hydrate(order), refusal)
  await put({ ...record, hydration: 'asked' })
  t.same(await agent.hydrate(order), { sharedSlices: 0 })
  await put({ ...record, hydration: 'asked', trash: { deletedAtAgeMs: 0, keepMs: 0, isPurging: true } })
  await t.rejects(agent.hydrate(order), refusal)
})

t.test('T2: who told of snapshots is believed only if it still led when the store was asked', async (t) => {
  const { store, local, agent } = await agentOf(t)
  const { copyId } = await local.makeCopy(specOf(A))
  const query = { volumeId: A, ids: [], names: [], after: { seq: 0, id: '' }, limit: 10 }
  await t.rejects(agent.snapshots(query), { code: 'copy-refused' }, 'a copy that does not lead')
  const config: VolumeConfig = {
    volumeId: A, epoch: 3, primary: 'n1', inSync: ['n1'], members: { n1: { copyId, state: 'in-sync' } }, minInSync: 1,
    attach: { generation: 0, mode: 'open', holders: {} }, nonce: 'x',
  }
  const put = async (value: VolumeConfig, version: Version | undefined) =>
    swap(store, configKey(A), version, Buffer.from(encodeConfig(value)).toString())
  let version = await put(config, undefined)
  await local.turn(() => true)
  local.volume(A).snapshots.push({ id: 'i', seq: 2, pinnedBy: null })
  t.match(await agent.snapshots(query), { epoch: 3, snapshots: [{ id: 'i', name: 'i' }] })
  version = await put({ ...config, epoch: 4 }, version)
  await t.rejects(agent.snapshots(query), { code: 'order-refused', message: /under the epoch/ }, 'it does not know yet')
  await local.turn(() => true)
  t.match(await agent.snapshots(query), { epoch: 4 })
  const elsewhere = { n1: config.members['n1']!, n2: { copyId: 'c', state: 'in-sync' as const } }
  await put({ ...config, epoch: 5, primary: 'n2', inSync: ['n2'], members: elsewhere }, version)
  await t.rejects(agent.snapshots(query), { code: 'order-refused' }, 'deposed, and it does not know it')
})
