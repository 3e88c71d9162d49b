/**
 * How long a clone takes, from the request to the API until it is served, of a volume of 40 GiB with 10 million blocks
 * and of an empty one beside it, in turns, on one node with the store beside it. The blocks are entries of the map that
 * were put there while the node was stopped, as of lz4 that left 64 B of each; nobody reads them.
 *
 *   bin/node24 --dev bench/micro/clone-time.ts [--rounds 15] [--dir DIR]
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { agreeOnClusterId } from '../../cluster/membership/cluster-id.ts'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import { identityIn } from '../../dataplane/node-folder.ts'
import { openStore } from '../../dataplane/store-shell.ts'

import { SEGMENT_STATE } from '../../engine/log/segment-table.ts'
import type { StoreStream } from '../../engine/log/store-stream.ts'
import { TRANSFORM } from '../../engine/transform/transform.ts'
import { GIB, PAGE_BLOCKS, UNITS_PER_BLOCK } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { quantile } from '../../bench/volume/steady-writer.ts'
import { pause, Scratch } from '../volume/scratch.ts'

const MAPPED_BLOCKS = 10_000_000
const SIZE_BYTES = 40 * GIB
/** Sparse: a pool promises twice of what it has, and nothing is written. */
const DISK_BYTES = 128 * GIB

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, dir: { type: 'string', default: os.tmpdir() } },
})
const scratch = new Scratch(values.dir)
const ends: Array<() => unknown> = []
const disk = { path: scratch.path('n1.disk'), sizeBytes: undefined, pool: 'default', tags: [] }
fs.closeSync(fs.openSync(disk.path, 'w', 0o600))
fs.truncateSync(disk.path, DISK_BYTES)
const cluster = await ClusterOfDaemons.make(
  { teardown: (end: () => unknown) => void ends.push(end) },
  { names: ['n1'], dir: scratch.dir, setUp: () => ({ change: { disks: [disk] } }) },
)
const node = cluster.node('n1')

/** Entries of `blocks` blocks from the first one on, as of the last seq that is applied. */
async function fill(stream: StoreStream, volumeId: string, blocks: number): Promise<void> {
  const { map, segments, context } = stream
  const volume = stream.volumesById.get(volumeId)!
  const storedUnits = new Uint8Array(PAGE_BLOCKS).fill(1)
  const crcs = new Uint32Array(PAGE_BLOCKS)
  const { epoch, epochs } = volume.descriptor
  const id = { epoch: epochs.at(-1)?.[0] ?? epoch, seq: volume.appliedSeq, transform: TRANSFORM.lz4 }
  const unitsMost = (context.segmentBytes / 4096 - 3) * UNITS_PER_BLOCK - PAGE_BLOCKS
  let [segment, units] = [-1, Infinity]
  for (let lba = 0; lba < blocks; lba += PAGE_BLOCKS) {
    if (units > unitsMost) {
      segment = context.grants.grant(context.streamId)!
      context.grants.setGeneration(segment, 1)
      context.grants.setInitialised(segment)
      const batch = { firstBatch: 1, lastBatch: 1, oldestBorn: 1 }
      segments.adopt(segment, { state: SEGMENT_STATE.sealed, generation: 1, live: 0, ...batch })
      units = UNITS_PER_BLOCK
    }
    map.applyRun(volume, { ...id, lba, count: Math.min(PAGE_BLOCKS, blocks - lba), segment, units, crcs, storedUnits })
    units += PAGE_BLOCKS
    if (stream.wantsCheckpoint && !(await new Promise((done) => stream.makeCheckpoint(done))))
      throw new Error('no checkpoint')
  }
  volume.changed = true
}

/** While the node is stopped. */
async function fillMap(volumeId: string): Promise<void> {
  const agreed = await agreeOnClusterId(cluster.store, randomBytes(16).toString('hex'))
  if (!agreed.ok) throw agreed.error
  const clusterId = agreed.value
  const { nodeId } = identityIn(node.paths.identity, { clusterId, store: cluster.storeProcess.address })
  const prepared = prepareDisk(disk, { nodeName: 'n1', nodeId, clusterId }, 1)
  if (!prepared.ok) throw prepared.error
  const log = { event: () => undefined }
  const barrier = new SharedArrayBuffer(4)
  const opened = await openStore(
    { disks: [prepared.value], indexDir: node.paths.index, worker: 0, workers: 1, barrier, log },
  )
  if (!opened.ok) throw opened.error
  await fill(opened.value.store.streams()[0]!, volumeId, MAPPED_BLOCKS)
  await new Promise<void>((resolve) => opened.value.stop(() => resolve()))
  releaseDisk(prepared.value)
}

try {
  await cluster.start()
  scratch.watchOver(node.pid)
  let api = cluster.api('n1')
  const ids: string[] = []
  for (const name of ['mapped', 'empty']) {
    const { id } = await api.createVolume({ name, sizeBytes: SIZE_BYTES, parameters: { replicas: '0' } })
    ids.push(id)
  }
  await node.stop()
  await fillMap(ids[0]!)
  await node.start()
  scratch.watchOver(node.pid)
  api = cluster.api('n1')
  for (const name of ['mapped', 'empty']) {
    while ((await api.getVolume({ name })).health !== 'healthy') await pause(100)
    await api.createSnapshot({ volume: name, name: 's', labels: {}, id: '' })
    const { usedBytes } = await api.getVolume({ name })
    console.log(`${name}: ${(usedBytes / 64).toFixed(0)} blocks`)
  }
  const tookMs = { mapped: [] as number[], empty: [] as number[] }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of ['mapped', 'empty'] as const) {
      const clone = `${name}-${round}`
      const beganMs = performance.now()
      const parameters = { replicas: '0', 'clone-of': `${name}@s` }
      const made = await api.createVolume({ name: clone, sizeBytes: 0, parameters })
      tookMs[name].push(performance.now() - beganMs)
      if (made.health !== 'healthy') throw new Error(`${clone} is ${made.health}`)
      await api.deleteVolume({ name: clone, force: false, purge: true })
    }
  }
  for (const [name, took] of Object.entries(tookMs)) {
    const [least, median] = [0, 0.5].map((q) => quantile(took.toSorted((a, b) => a - b), q).toFixed(0))
    console.log(`clone of ${name}: ${median} ms (median of ${took.length}), ${least} ms at least`)
  }
} finally {
  for (const end of ends.reverse()) await end()
  scratch.remove()
}
