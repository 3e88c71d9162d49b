/**
 * Three replicating workers as processes, and the embedded cluster store as a fourth, with a client that writes through
 * the last node.
 */
import type { Test } from 'tap'
import { configKey, decodeConfig, encodeConfig } from '../../cluster/store/volume-configs.ts'
import type { ClusterStore } from '../../cluster/store/cluster-store.ts'
import type { VolumeConfig } from '../../engine/replication/configuration.ts'
import { BLOCK_BYTES, MIB } from '../../engine/units.ts'
import { EMBEDDED, startStore } from '../conformance/cluster-store/store-process.ts'
import type { CopyTiming } from '../../dataplane/copy/timing.ts'
import { configOf, hex, specOf } from '../dataplane/copy/hosts.ts'
import { meetAll, NodeProcess } from '../dataplane/copy/node-processes.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** Longer than a busy machine keeps a process from running. */
export const PROCESS_TIMING: CopyTiming = {
  beaconMs: 200,
  leaseMs: 1200,
  graceMs: 1300,
  evictAfterMs: 1000,
  retryMs: 50,
  candidateStepMs: 50,
}

const SIZE_BYTES = 8 * MIB
const BLOCKS = SIZE_BYTES / BLOCK_BYTES

export async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10))
}

async function startNodes(
  t: Test,
  names: readonly string[],
  storeAddress: string,
  timing: CopyTiming,
): Promise<NodeProcess[]> {
  const nodes = names.map((node) => new NodeProcess({ node, dir: temporaryFolder(t), storeAddress, timing }))
  for (const node of nodes) t.teardown(() => node.kill())
  await Promise.all(nodes.map((node) => node.start()))
  await meetAll(nodes)
  return nodes
}

async function configIn(store: ClusterStore, volumeId: string): Promise<VolumeConfig> {
  const found = await store.get(configKey(volumeId))
  if (!found.ok) throw found.error
  return decodeConfig(volumeId, found.value!.value)!
}

/** Three nodes with a copy each, the first one primary; a client on the last, which holds the volume and writes. */
export async function startWriting(t: Test, timing = PROCESS_TIMING) {
  const storeProcess = await startStore(t, EMBEDDED)
  const store = storeProcess.client({ root: '/holdfast/' })
  const nodes = await startNodes(t, ['n1', 'n2', 'n3'], storeProcess.address, timing)
  const spec = specOf({ sizeBytes: SIZE_BYTES })
  const ids = nodes.map(() => hex())
  const config = configOf(spec.id, Object.fromEntries(nodes.map(({ node }, i) => [node, ids[i]!])), 'single')
  config.attach = { generation: 1, mode: 'single', holders: { n3: 1 } }
  await store.compareAndSwap({ key: configKey(spec.id), version: undefined, value: encodeConfig(config) })
  await Promise.all(nodes.map((node, i) => node.call('create', spec, ids[i]!)))
  const [n1, n2, client] = nodes as [NodeProcess, NodeProcess, NodeProcess]
  await client.call('attach', spec, { generation: 1, incarnation: 1 })
  await client.call('beginWriter', BLOCKS)
  const moreWritten = async (count: number): Promise<void> => {
    const from = await client.call('written')
    await until(async () => (await client.call('written')) >= from + count)
  }
  await moreWritten(200)
  return {
    storeProcess, nodes, n1, n2, client, moreWritten,
    config: () => configIn(store, spec.id),
    isWhole: async () => (await configIn(store, spec.id)).inSync.length === 3,
    statusOf: (node: NodeProcess) => node.call('status', spec.id),
    handOver: (node: NodeProcess, to: string) => node.call('handOver', spec.id, to),
    /** No request failed, every block holds what was written last, and all copies are the same. */
    async end() {
      const report = await client.call('endWriter')
      t.same(report.errors, [], `${report.written} writes, none failed`)
      t.same(await client.call('verify', report.model), [], 'every block as it was written last')
      await until(async () => {
        const states = await Promise.all(nodes.map((node) => node.call('status', spec.id)))
        return new Set(states.map(({ tail, appliedSeq }) => `${tail} ${appliedSeq}`)).size === 1
      })
      const [first, ...others] = await Promise.all(nodes.map((node) => node.call('content', spec.id, BLOCKS)))
      for (const other of others) t.same(other, first, 'the same versions with the same bytes')
      return report
    },
  }
}
