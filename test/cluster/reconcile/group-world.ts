/**
 * Two volumes without bytes, led by nodes other than who is elected, for tests of group snapshots; and what may happen
 * to an order on its way to one of them.
 */
import type { Test } from 'tap'
import type { CreateGroupRequest, SnapshotGroup } from '../../../cluster/api/snapshot-messages.ts'
import { GROUP_PREFIX, decodeGroup } from '../../../cluster/store/snapshot-groups.ts'
import { encodeName, nameKey } from '../../../cluster/store/volume-names.ts'
import type { GroupRecord } from '../../../engine/control/snapshot-group.ts'
import { listAll } from '../../conformance/cluster-store/calls-suite.ts'
import { ControlCluster } from './control-cluster.ts'
import type { TestNode } from './control-cluster.ts'
import type { FakeVolume } from './fake-volume.ts'
import { drawn } from './snapshot-world.ts'

export const A = 'a'.repeat(32)
export const B = 'b'.repeat(32)
export const groupRequest = (name: string, digit: number, more: Partial<CreateGroupRequest> = {}): CreateGroupRequest =>
  ({ name, volumes: ['v-aaaa', 'v-bbbb'], labels: {}, id: drawn(digit), ...more })

/** What an order meets: it goes on by `go`. */
export type Event = (step: Step) => Promise<Ordered>

interface Step {
  call: 'hold' | 'take' | 'undo'
  volumeId: string
  go(): Promise<Ordered>
}
type Ordered = { seq: number }

export interface GroupWorld {
  cluster: ControlCluster
  /** Whoever is elected now. */
  elected(): TestNode
  /** Which node is expected to lead a volume. */
  leads: Record<string, string>
  volumes: { a: FakeVolume; b: FakeVolume }
  /** Of each order to a volume's primary. */
  meets(event: Event): void
  create(request: CreateGroupRequest): Promise<SnapshotGroup>
  records(): Promise<GroupRecord[]>
  /** Names of the snapshots of both. */
  snapshots(): string[][]
  /** Nobody is held, nothing is left but what is made. */
  atRest(t: Test): Promise<void>
}

export async function groupWorld(t: Test): Promise<GroupWorld> {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3', 'n4'])
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const elected = () => cluster.elected().find(({ control }) => control.controller.term() !== undefined)!
  const others = ['n1', 'n2', 'n3', 'n4'].filter((name) => name !== elected().name)
  const leads: Record<string, string> = { [A]: others[0]!, [B]: others[1]! }
  for (const id of [A, B]) {
    await cluster.createVolume(id, 2, { firstNode: leads[id]! })
    await cluster.put(nameKey(`v-${id.slice(0, 4)}`), encodeName(id))
  }
  await cluster.until('they are served', () => [A, B].every((id) => cluster.health(id) === 'healthy'))
  const fake = elected().fake
  const volumes = { a: fake.volume(A), b: fake.volume(B) }
  const snapshots = () => [volumes.a, volumes.b].map((one) => one.snapshots.map(({ title }) => title?.name ?? ''))
  const records = async () => {
    const { entries } = await listAll(cluster.store, GROUP_PREFIX)
    return entries.map(({ key, value }) => decodeGroup(key.slice(GROUP_PREFIX.length), value)!)
  }
  return {
    cluster, elected, leads, volumes, snapshots, records,
    meets: (event) => {
      cluster.wrapCalls = (calls) => ({
        ...calls,
        hold: (order) => event({ call: 'hold', volumeId: order.volumeId, go: () => calls.hold(order) }),
        change: async (order) => {
          const call = order.operation === 'snapshot' ? 'take' : 'undo'
          return { heldMs: 0, ...(await event({ call, volumeId: order.volumeId, go: () => calls.change(order) })) }
        },
      })
    },
    create: (request) => cluster.answered(elected().volumes.createGroup(request)),
    atRest: async (t) => {
      await cluster.until('nothing is left', async () => (await records()).every(({ state }) => state === 'made'))
      const made = new Set((await records()).map(({ snapshotId }) => snapshotId))
      for (const volume of [volumes.a, volumes.b]) {
        t.equal(volume.hold, undefined, 'nothing is held')
        t.same(volume.snapshots.filter(({ id, title }) => title?.group !== undefined && !made.has(id)), [])
      }
    },
  }
}

/** It is gone: what it was at never goes on. */
export const never = (): Promise<never> => new Promise(() => {})
