/** What nodes say to each other comes over the wire as it was, refusals too; who is not there is unreachable. */
import t from 'tap'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import { commandOf, orderedChange } from '../../../cluster/reconcile/change-order.ts'
import type { OrderedChange } from '../../../cluster/reconcile/change-order.ts'
import type { DigestAnswer, NodeCalls, NodeReport } from '../../../cluster/reconcile/node-calls.ts'
import { NODE_CALLS, NodeConnections, nodeService } from '../../../cluster/reconcile/node-service.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../../../engine/control/volume-snapshots.ts'
import type { ChangeCommand } from '../../../engine/replication/copy-port.ts'
import { U48_MAX, VOLUME_BYTES_MAX } from '../../../engine/units.ts'
import { detailsOf } from './control-cluster.ts'

const ID = 'a'.repeat(32)
const DISK = 'd'.repeat(32)
const ORDER = { volumeId: ID, instance: 'i', stampMs: 12.25 }

const REPORT: NodeReport = {
  status: {
    node: 'n1',
    instance: 'i',
    isOpen: true,
    disks: [{
      uuid: DISK, path: '/d', pool: 'default', tags: ['ssd', 'fast'], state: 'failed', reason: 'it is gone',
      capacityBytes: VOLUME_BYTES_MAX, freeBytes: 1, reserveBytes: 2, checksumErrors: 3,
    }],
    copies: [{
      volumeId: ID, copyId: 'c', role: 'handing-over', epoch: 2 ** 32, isConsistent: true, isWhole: false,
      durability: 'writeback', durabilityNext: 'durable',
      isVirgin: true, lostSlices: 4, diskUuids: [DISK], usedBytes: 5, logicalBytes: 2 ** 46,
      seq: 2 ** 48, commitSeq: 6, lagBytes: 7, joining: 'waits',
      snapshots: 9, newestSnapshot: 'n'.repeat(63), newestSnapshotAtMs: 2 ** 42, newestScheduledAtMs: 2 ** 41,
      hearsPrimary: true, held: 'so', isPoolFull: true, awaits: ['n2', 'n3'], heldRequests: 8, failure: 'no',
      scrubbedAtMs: 2 ** 41, checkedAtMs: 2 ** 42, isScrubbing: true, scrubPercent: 15, isScrubOverdue: true,
      damagedBlocks: 10, unrepairedBlocks: 11, mapProblems: 12, comparedAtMs: 2 ** 43, differences: 13, lostBlocks: 14,
      sharedSlices: 15, sharedBytes: 2 ** 45, isHydrating: true, levels: 7, readers: 1024, isLastReader: true,
    }],
  },
  isWhole: true,
  gone: [ID],
  ticket: 't',
  stampMs: 123_456.75,
  facts: { ...detailsOf('n1').facts, uptimeMs: 9, listening: ['a', 'b'] },
  sessions: [{ volumeId: ID, session: '1', generation: 2, snapshot: 'daily' }],
}

const title = { name: 'daily', createdAtMs: 2 ** 45, labels: { app: 'db', tier: '' } }
const EXPECTED = { epoch: 3, seq: 4 }
const COMMANDS: Array<Omit<ChangeCommand, 'type'>> = [
  { change: { operation: 'resize', sizeBytes: VOLUME_BYTES_MAX } },
  { change: { operation: 'shrink', sizeBytes: 2 ** 20 }, expected: EXPECTED },
  { change: { operation: 'snapshot', id: ID, title }, expected: { epoch: 2 ** 32 - 1, seq: U48_MAX } },
  { change: { operation: 'durability', to: 'writeback' }, expected: EXPECTED },
  { change: { operation: 'snapshot', id: ID } },
  { change: { operation: 'snapshot', id: ID, title: { ...title, group: 'g' } }, expected: EXPECTED, hold: 'h' },
  { change: { operation: 'snapshot-delete', id: ID }, expected: { epoch: 1, seq: 0 } },
  { change: { operation: 'rollback', to: ID }, unusedSince: 0 },
  { change: { operation: 'rollback', to: ID, kept: { id: 'k', title } }, expected: EXPECTED, unusedSince: 9 },
]
const HOLD = { hold: 'h', holdMs: 2_000, expected: EXPECTED }
const CHANGES = COMMANDS.map(orderedChange)
const QUERY: SnapshotQuery = { volumeId: ID, ids: [ID], names: ['a', 'b'], after: { seq: U48_MAX, id: ID }, limit: 7 }
const ANSWER: SnapshotAnswer = {
  epoch: 2 ** 32 - 1, changed: { epoch: 8, seq: U48_MAX }, sizeBytes: VOLUME_BYTES_MAX, durability: 'durable',
  count: 9, bytes: 10,
  snapshots: [{
    id: ID, seq: U48_MAX, sizeBytes: VOLUME_BYTES_MAX, ...title, group: 'g', exclusiveBytes: 2 ** 45,
    exclusiveAtMs: 2 ** 42,
  }],
  attach: { generation: 3, holders: { n1: 3 } }, inUse: 'n2',
}

const REKEYED = {
  keyCount: 2, why: 'no', totalBytes: 8, doneBytes: 4, rewrittenBlocks: 3, damagedBlocks: 1, isDone: false,
}
const DIGEST: DigestAnswer = {
  isTold: true, isShared: true, slicesShown: 2 ** 31 - 1, appliedSeq: U48_MAX, endSeq: U48_MAX, views: 2 ** 32 - 1,
  pages: [{ page: 1023, digest: 2 ** 32 - 1, newestSeq: 7 }],
  versions: [{ lba: U48_MAX, epoch: 2 ** 32 - 1, seq: U48_MAX, crc: 2 ** 32 - 1 }],
}

t.test('an order is the command that it was made of', async (t) => {
  for (const command of COMMANDS) t.same(commandOf(orderedChange(command)), command)
  const newer = { ...orderedChange(COMMANDS[0]!), operation: 'split' } as unknown as OrderedChange
  t.equal(commandOf(newer), undefined, 'what it does not know is none')
})

t.test('what is said comes as it was', async (t) => {
  const heard: unknown[] = []
  const hear = <T>(answer: T) => async (request: unknown) => {
    heard.push(request)
    return answer
  }
  const refusal = new HoldfastError('order-refused', { node: 'n1', order: 'hand over', volume: ID, reason: 'no' })
  const calls: NodeCalls = {
    report: hear({ isTaken: true, ticket: 'next', beats: 'digest', figures: 7 }),
    makeCopy: hear({ copyId: 'c' }),
    eraseCopy: hear({}),
    handOver: () => Promise.reject(refusal),
    change: hear({ seq: 3, heldMs: 1.5 }),
    hold: hear({ seq: 4 }),
    release: hear({}),
    snapshots: hear(ANSWER),
    awaitOffer: hear({ isOffered: true }),
    clients: hear({ generations: [7, 7] }),
    scrub: hear({}),
    hydrate: hear({ sharedSlices: 2 }),
    rekey: hear(REKEYED),
    digest: hear(DIGEST),
  }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0 }, [nodeService(calls)], (error) => t.fail(String(error)))
  const connections = new NodeConnections()
  t.teardown(() => connections.close())
  const node = connections.to('n1', `127.0.0.1:${server.port}`)
  t.same(await node.report(REPORT), { isTaken: true, ticket: 'next', beats: 'digest', figures: 7 })
  t.same(await node.makeCopy(ORDER), { copyId: 'c' })
  t.same(await node.eraseCopy({ ...ORDER, copyId: 'c', epoch: 7 }), {})
  for (const order of CHANGES) t.same(await node.change({ ...ORDER, ...order }), { seq: 3, heldMs: 1.5 })
  t.same(await node.hold({ ...ORDER, ...HOLD }), { seq: 4 })
  t.same(await node.release({ ...ORDER, hold: 'h' }), {})
  t.same(await node.snapshots(QUERY), ANSWER)
  t.same(await node.awaitOffer({ volumeId: ID, generation: 5 }), { isOffered: true })
  t.same(await node.clients({ volumeId: ID }), { generations: [7, 7] })
  t.same(await node.scrub({ volumeId: ID, isDeep: true }), {})
  t.same(await node.hydrate(ORDER), { sharedSlices: 2 })
  t.same(await node.rekey({ ...ORDER, isPass: true }), REKEYED)
  t.same(await node.digest({ volumeId: ID, slice: 3, page: -1 }), DIGEST)
  t.same(heard, [
    REPORT, ORDER, { ...ORDER, copyId: 'c', epoch: 7 }, ...CHANGES.map((order) => ({ ...ORDER, ...order })),
    { ...ORDER, ...HOLD }, { ...ORDER, hold: 'h' }, QUERY, { volumeId: ID, generation: 5 },
    { volumeId: ID }, { volumeId: ID, isDeep: true }, ORDER, { ...ORDER, isPass: true },
    { volumeId: ID, slice: 3, page: -1 },
  ])
  await t.rejects(node.handOver({ ...ORDER, to: 'n2' }), { code: 'order-refused', message: refusal.message })
  await server.close(100)
  await t.rejects(node.makeCopy(ORDER), { code: 'unreachable' })
})

t.test('what no node of ours sends is refused before it reaches anything', async (t) => {
  const reached: string[] = []
  const calls = Object.fromEntries(NODE_CALLS.map((call) => [call, async () => {
    reached.push(call)
    return {}
  }])) as unknown as NodeCalls
  for (const isLoopback of [true, false]) {
    const onBug = (error: unknown) => t.fail(String(error))
    const server = await serveGrpc({ host: '127.0.0.1', port: 0 }, [nodeService(calls, isLoopback)], onBug)
    t.teardown(() => server.close(0))
    const connections = new NodeConnections()
    t.teardown(() => connections.close())
    const node = connections.to('n1', `127.0.0.1:${server.port}`)
    for (const call of NODE_CALLS.filter((one) => one !== 'report')) {
      for (const volumeId of ['', 'a b', '\u00fc', '../x', 'x'.repeat(600), ID.toUpperCase()]) {
        await t.rejects(node[call]({ volumeId, after: {}, expected: {} } as never), { code: 'volume-not-found' }, call)
      }
    }
    for (const [call, request] of [
      ['report', {}], ['report', { status: {} }], ['report', { facts: {} }], ['hold', ORDER], ['snapshots', ORDER],
    ] as const) {
      const answer: Promise<unknown> = node[call](request as never)
      await t.rejects(answer, { code: 'parameter' }, call)
    }
    const { status } = REPORT
    for (const id of ['a b', '\u00fc', '../x', 'x'.repeat(600), ID.toUpperCase()]) {
      const disks = [{ ...status.disks[0]!, uuid: id }]
      const copies = [{ ...status.copies[0]!, volumeId: id }]
      for (const named of [{ ...status, disks }, { ...status, copies }]) {
        await t.rejects(node.report({ ...REPORT, status: named }), { code: 'parameter' }, 'an id becomes part of a key')
      }
    }
  }
  t.same(reached, [])
})
