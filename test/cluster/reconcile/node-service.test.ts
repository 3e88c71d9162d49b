/** What nodes say to each other comes over the wire as it was, refusals too; who is not there is unreachable. */
import t from 'tap'
import { serveGrpc } from '../../../cluster/api/grpc-server.ts'
import type { NodeCalls, NodeReport } from '../../../cluster/reconcile/node-calls.ts'
import { NodeConnections, nodeService } from '../../../cluster/reconcile/node-service.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { VOLUME_BYTES_MAX } from '../../../engine/units.ts'
import { detailsOf } from './control-cluster.ts'

const ID = 'a'.repeat(32)
const ORDER = { volumeId: ID, instance: 'i', stampMs: 12.25 }

const REPORT: NodeReport = {
  status: {
    node: 'n1',
    instance: 'i',
    isOpen: true,
    disks: [{
      uuid: 'u', path: '/d', pool: 'default', tags: ['ssd', 'fast'], state: 'failed', reason: 'it is gone',
      capacityBytes: VOLUME_BYTES_MAX, freeBytes: 1, reserveBytes: 2, checksumErrors: 3,
    }],
    copies: [{
      volumeId: ID, copyId: 'c', role: 'handing-over', epoch: 2 ** 32, isConsistent: true, isWhole: false,
      isVirgin: true, lostSlices: 4, diskUuids: ['u'], usedBytes: 5, seq: 2 ** 48, commitSeq: 6, lagBytes: 7,
      hearsPrimary: true, held: 'so', isPoolFull: true, heldRequests: 8, failure: 'no',
    }],
  },
  isWhole: true,
  gone: [ID],
  ticket: 't',
  stampMs: 123_456.75,
  facts: { ...detailsOf('n1').facts, uptimeMs: 9, listening: ['a', 'b'] },
  sessions: [{ volumeId: ID, session: '1', generation: 2 }],
}

t.test('what is said comes as it was', async (t) => {
  const heard: unknown[] = []
  const hear = <T>(answer: T) => async (request: unknown) => {
    heard.push(request)
    return answer
  }
  const refusal = new HoldfastError('order-refused', { node: 'n1', order: 'hand over', volume: ID, reason: 'no' })
  const calls: NodeCalls = {
    report: hear({ isTaken: true, ticket: 'next' }),
    makeCopy: hear({ copyId: 'c' }),
    eraseCopy: hear({}),
    handOver: () => Promise.reject(refusal),
    change: hear({ seq: 3 }),
    awaitOffer: hear({ isOffered: true }),
  }
  const server = await serveGrpc({ host: '127.0.0.1', port: 0 }, [nodeService(calls)], (error) => t.fail(String(error)))
  const connections = new NodeConnections()
  t.teardown(() => connections.close())
  const node = connections.to(`127.0.0.1:${server.port}`)
  t.same(await node.report(REPORT), { isTaken: true, ticket: 'next' })
  t.same(await node.makeCopy(ORDER), { copyId: 'c' })
  t.same(await node.eraseCopy({ ...ORDER, copyId: 'c', epoch: 7 }), {})
  t.same(await node.change({ ...ORDER, operation: 'resize', sizeBytes: VOLUME_BYTES_MAX }), { seq: 3 })
  t.same(await node.awaitOffer({ volumeId: ID, generation: 5 }), { isOffered: true })
  t.same(heard, [
    REPORT, ORDER, { ...ORDER, copyId: 'c', epoch: 7 }, { ...ORDER, operation: 'resize', sizeBytes: VOLUME_BYTES_MAX },
    { volumeId: ID, generation: 5 },
  ])
  await t.rejects(node.handOver({ ...ORDER, to: 'n2' }), { code: 'order-refused', message: refusal.message })
  await server.close(100)
  await t.rejects(node.makeCopy(ORDER), { code: 'unreachable' })
})
