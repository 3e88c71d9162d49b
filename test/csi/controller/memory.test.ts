/** Memory of `holdfast csi controller` while it is asked for 1,000 volumes again and again: 200 MiB at most. */
// test-timeout-seconds: 300
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { ControlApi } from '../../../cluster/api/definition.ts'
import type { Node } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { serveControlApi } from '../../../cluster/api/server.ts'
import { pageOfIds } from '../../../cluster/api/volume-page.ts'
import { volumeView } from '../../../cluster/api/volume-view.ts'
import { PROTOCOL_NEEDED } from '../../../csi/controller/node-protocols.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { ControllerProcess } from '../controller-process.ts'
import { CsiClient } from '../csi-client.ts'

t.setTimeout(290_000)

const VOLUMES = 1000
const ROUNDS = 20
const RSS_MAX = 200 * MIB

/** As a cluster shows one, with three copies, labels and a holder. */
function shown(i: number): Volume {
  const id = i.toString(16).padStart(32, '0')
  const view = volumeView({
    spec: {
      id, name: `pvc-${id}`, sizeBytes: GIB, blockSizeBytes: 4096, replicas: 2, durability: 'durable', onFull: 'hold',
      ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
    },
    health: 'healthy', healthReason: '', epoch: 1, usedBytes: 0, logicalBytes: 0, seq: 1, commitSeq: 1, heldRequests: 0,
  }, { node: 'n1', nbd: [], frontends: [] })
  const labels = { 'csi-name': `pvc-${id}`, 'csi-pvc': `data-${i}`, 'csi-pvc-namespace': 'db', 'csi-request': id }
  const attach = { mode: 'single' as const, generation: 1, holders: [{ node: 'n1', generation: 1 }] }
  return { ...view, copies: Array(3).fill(view.copies[0]), labels, attach }
}

t.test(`${VOLUMES} volumes, listed ${ROUNDS} times`, async (t) => {
  const volumes = new Map(Array.from({ length: VOLUMES }, (_, i) => shown(i)).map((one) => [one.id, one]))
  const api = {
    listVolumes: async (page = {}) => {
      const { ids, next } = pageOfIds(volumes.keys(), page)
      return { volumes: ids.map((id) => volumes.get(id)!), next }
    },
    getVolume: async ({ name }) => volumes.get(name)!,
    listNodes: async () => ({ nodes: [{ name: 'n1', version: '0.1', protocol: PROTOCOL_NEEDED } as Node] }),
  } satisfies Partial<ControlApi> as unknown as ControlApi
  const socketPath = path.join(temporaryFolder(t), 'api.sock')
  const server = await serveControlApi({ socketPath, api, onBug: (error) => t.fail(String(error)) })
  t.teardown(() => server.close(0))
  const controller = new ControllerProcess(t, socketPath)
  await controller.start()
  const client = new CsiClient(t, controller.socketPath)
  for (let round = 0; round < ROUNDS; round++) {
    let listed = 0
    for (let startingToken = ''; ;) {
      const { entries, nextToken } = await client.call('Controller', 'ListVolumes', { startingToken })
      listed += entries.length
      if ((startingToken = nextToken) === '') break
    }
    t.equal(listed, VOLUMES)
    const asked = [...volumes.keys()].slice(0, 100)
    await Promise.all(asked.map((volumeId) => client.call('Controller', 'ControllerGetVolume', { volumeId })))
  }
  const status = readFileSync(`/proc/${controller.pid}/status`, 'utf8')
  const mostBytes = Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024
  t.comment(`at most ${Math.round(mostBytes / MIB)} MiB`)
  t.ok(mostBytes <= RSS_MAX, `${mostBytes} bytes`)
})
