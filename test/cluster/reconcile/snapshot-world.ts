/**
 * A volume of three nodes without bytes, led by another one than who is elected, for tests of snapshots; and ways in
 * which an order to its primary may end.
 */
import type { Test } from 'tap'
import type { CreateSnapshotRequest, Snapshot } from '../../../cluster/api/snapshot-messages.ts'
import { encodeName, nameKey } from '../../../cluster/store/volume-names.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { ControlCluster } from './control-cluster.ts'
import type { TestNode } from './control-cluster.ts'
import type { FakeVolume } from './fake-volume.ts'

export const ID = 'a'.repeat(32)
export const drawn = (digit: number): string => String(digit).repeat(32)
export const request = (name: string, digit: number, labels = {}): CreateSnapshotRequest =>
  ({ volume: 'v-aaaa', name, labels, id: drawn(digit) })
export const named = (name: string) => ({ volume: 'v-aaaa', name })
export const lost = () => new HoldfastError('unreachable', { endpoint: 'x', source: 'y', reason: 'ECONNRESET' })

export interface SnapshotWorld {
  cluster: ControlCluster
  elected: TestNode
  /** Another node than that one, as long as nothing happens to it. */
  primary: TestNode
  volume: FakeVolume
  create(request: CreateSnapshotRequest): Promise<Snapshot>
  names(): Promise<string[]>
}

export async function servedVolume(t: Test): Promise<SnapshotWorld> {
  const cluster = await ControlCluster.start(t, ['n1', 'n2', 'n3'])
  await cluster.until('one is elected', () => cluster.elected()[0]?.control.controller.term() !== undefined)
  const elected = cluster.elected()[0]!
  const firstNode = ['n1', 'n2', 'n3'].find((name) => name !== elected.name)!
  await cluster.createVolume(ID, 2, { firstNode })
  await cluster.put(nameKey('v-aaaa'), encodeName(ID))
  await cluster.until('it is served', () => cluster.health(ID) === 'healthy')
  const { volumes } = elected
  return {
    cluster, elected, primary: cluster.node(firstNode), volume: elected.fake.volume(ID),
    create: (request) => cluster.answered(volumes.createSnapshot(request)),
    names: async () => {
      const { snapshots } = await cluster.answered(volumes.listSnapshots({ volume: 'v-aaaa', limit: 0, after: '' }))
      return snapshots.map(({ name }) => name)
    },
  }
}

type Change = TestNode['fake']['change']

/** The next orders to that node end so, one after the other; those behind them as usual. */
export function fate(
  { fake }: TestNode, ...fates: Array<(order: () => ReturnType<Change>) => ReturnType<Change>>
): void {
  const usual = fake.change.bind(fake)
  fake.change = (...order) => fates.shift()?.(() => usual(...order)) ?? usual(...order)
}

export const answerLost = async (order: () => Promise<unknown>): Promise<never> => {
  await order()
  throw lost()
}
export const orderLost = async (): Promise<never> => {
  throw lost()
}
