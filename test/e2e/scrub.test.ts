/**
 * Risk: what rots at rest is found when it is too late. Three nodes as processes and seven volumes with three copies
 * under load, some encrypted, compressed or both; blocks are damaged on their disks, twenty-one random patterns, of
 * each block one copy is left whole. Every read is right, scrubs repair all, `volume inspect` and `status` say what
 * happened, and all disks hold the same.
 */
// test-timeout-seconds: 300
import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { connectControlApi } from '../../cluster/api/client.ts'
import { createProgress } from '../../cli/offline/progress.ts'
import { openDisk } from '../../cli/offline/disk-image.ts'
import { readCatalog } from '../../cli/offline/volume-catalog.ts'
import { layersOf } from '../../cli/offline/volume-image.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { createOutput } from '../../cli/output.ts'
import { BATCH_MAGIC } from '../../engine/log/batch.ts'
import { segmentOffsetBytes } from '../../engine/log/geometry.ts'
import { BLOCK_BYTES, MIB, UNIT_BYTES } from '../../engine/units.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { ClusterOfDaemons } from '../cluster/cluster-of-daemons.ts'
import { contentsOnDisk, differences } from '../nemesis/copies-at-rest.ts'
import { Random } from '../sim/random.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { until } from './until.ts'

t.setTimeout(290_000)

/** At the same time: what a scrub waits for is the next report of a node. */
const VOLUMES: Record<string, Record<string, string>> = {
  data: {},
  packed: { compression: 'lz4' },
  xts: { encryption: 'true' },
  gcm: { encryption: 'true', cipher: 'aes-256-gcm' },
  plain: {},
  'packed-gcm': { compression: 'lz4', encryption: 'true', cipher: 'aes-256-gcm' },
  'packed-xts': { compression: 'lz4', encryption: 'true' },
}
/** A pattern of damage for each volume. */
const ROUNDS = 3
const FOUND_DAMAGE = 'a deep scrub found damage'
const SECTOR_BYTES = 512
/** Of a segment's header and trailer, and of a batch's header (engine/log/FORMAT.md). */
const GENERATION_AT = 36
const BATCH_GENERATION_AT = 44
const HEADERS = 3
/** Of a client, between two patterns. */
const WRITES = 100

/** Where each block of the heads of these volumes lies on that disk. */
function placesOnDisk(diskPath: string, volumeIds: readonly string[]): Array<Map<number, number>> {
  const image = openDisk(diskPath, createOutput(true))
  try {
    const progress = createProgress()
    const catalog = readCatalog([image], progress)
    return volumeIds.map((id) => {
      const [layer] = layersOf(catalog, catalog.volumes.get(id)!, progress).layers
      const places = new Map<number, number>()
      for (const lba of layer!.dataBlocks()) {
        const { source, units } = layer!.entry(lba)!
        places.set(lba, segmentOffsetBytes(image.segmentBytes, source.segment.segment) + units * UNIT_BYTES)
      }
      return places
    })
  } finally {
    image.close()
  }
}

/** Segments that are sealed with a batch in block 1, by the bytes of a disk, and their generations. */
function sealedOnDisk(diskPath: string): Map<number, number> {
  const image = openDisk(diskPath, createOutput(true))
  const { segmentBytes } = image
  image.close()
  const sealed = new Map<number, number>()
  const fd = openSync(diskPath, 'r')
  const { size } = fstatSync(fd)
  for (let segment = 0; segmentOffsetBytes(segmentBytes, segment + 1) <= size; segment++) {
    const [head, tail] = [Buffer.alloc(2 * BLOCK_BYTES), Buffer.alloc(BLOCK_BYTES)]
    readSync(fd, head, 0, head.length, segmentOffsetBytes(segmentBytes, segment))
    readSync(fd, tail, 0, tail.length, segmentOffsetBytes(segmentBytes, segment + 1) - BLOCK_BYTES)
    const generation = tail.readUInt32LE(GENERATION_AT)
    const isSealed = tail.toString('latin1', 0, 8) === 'HFSEGEND' && head.readUInt32LE(GENERATION_AT) === generation
    const first = head.subarray(BLOCK_BYTES)
    if (isSealed && first.readUInt32LE(0) === BATCH_MAGIC && first.readUInt32LE(BATCH_GENERATION_AT) === generation)
      sealed.set(segment, generation)
  }
  closeSync(fd)
  return sealed
}

/** Damage the first header of the log in some of these. */
function damageHeaders(diskPath: string, segments: readonly number[]): void {
  const image = openDisk(diskPath, createOutput(true))
  const fd = openSync(diskPath, 'r+')
  for (const segment of segments) {
    const at = segmentOffsetBytes(image.segmentBytes, segment) + BLOCK_BYTES
    writeSync(fd, Buffer.alloc(SECTOR_BYTES, 0xa5), 0, SECTOR_BYTES, at)
  }
  closeSync(fd)
  image.close()
}

interface Scrubbed {
  name: string
  id: string
  client: StampedClient
}

t.test('damaged blocks are repaired by scrubs, so long as one copy of each is good', async (t) => {
  const random = new Random(`scrubs ${process.env.SCRUB_SEED ?? 1}`)
  const clusterKey = path.join(temporaryFolder(t), 'key')
  writeFileSync(clusterKey, randomBytes(32).toString('hex'))
  const cluster = await ClusterOfDaemons.make(t, { diskBytes: 320 * MIB, setUp: () => ({ change: { clusterKey } }) })
  await cluster.start()
  const { api: endpoint, nbd: socketPath } = cluster.node('n1').paths
  const api = cluster.api('n1')
  const run = (...words: string[]) => holdfast([...words, '--endpoint', endpoint])
  const inspect = (name: string) => () => api.getVolume({ name })
  await until(() => api.listDisks(), ({ disks }) => disks.length === 3)
  const volumes = await Promise.all(Object.entries(VOLUMES).map(async ([name, special]): Promise<Scrubbed> => {
    const parameters = { replicas: '2', ...special }
    const { id } = await api.createVolume({ name, sizeBytes: 4 * MIB, parameters })
    const own = random.fork(name)
    const client = new StampedClient({ socketPath, exportName: name, random: () => own.float(), depth: 8 })
    t.teardown(() => client.close())
    await client.connected()
    await until(inspect(name), ({ health }) => health === 'healthy')
    return { name, id, client }
  }))
  const ids = volumes.map(({ id }) => id)
  const disks = cluster.nodes.map(({ config }) => config.disks[0]!.path)

  /**
   * A pattern of its own for each volume.
   * @returns how many blocks, by disk, and how many there are of which some disk has a damaged one
   */
  const damage = (): Array<{ counts: number[]; blocks: number }> => {
    const places = disks.map((path) => placesOnDisk(path, ids))
    const fds = disks.map((path) => openSync(path, 'r+'))
    const done = volumes.map((_, number) => {
      const share = random.pick([0.02, 0.2, 1])
      const counts = disks.map(() => 0)
      const hurt = new Set<number>()
      for (const lba of places[0]![number]!.keys()) {
        const whole = random.int(disks.length)
        for (const [i, fd] of fds.entries()) {
          const at = places[i]![number]!.get(lba)
          if (i === whole || at === undefined || !random.chance(share)) continue
          // The beginning of a block that may be packed: what lies behind it may be another one.
          const [offset, length] = VOLUMES[volumes[number]!.name]!.compression !== undefined
            ? [0, UNIT_BYTES] : [random.int(BLOCK_BYTES / SECTOR_BYTES) * SECTOR_BYTES, SECTOR_BYTES]
          writeSync(fd, random.bytes(Buffer.alloc(length)), 0, length, at + offset)
          counts[i]!++
          hurt.add(lba)
        }
      }
      return { counts, blocks: hurt.size }
    })
    for (const fd of fds) closeSync(fd)
    return done
  }
  /** Which blocks do not fit their checksum, or are not the same on all disks. */
  const wrongOnDisks = (): string[] => {
    const byDisk = disks.map((path) => contentsOnDisk(path, ids.map((volumeId) => ({ volumeId }))))
    return volumes.flatMap(({ name }, number) => {
      const [one, ...others] = byDisk.map((contents) => contents[number]!)
      const damaged = [...one!].filter(([, words]) => /checksum|unreadable/.test(words)).map(([lba]) => `block ${lba}`)
      return [...damaged, ...others.flatMap((other) => differences(one!, other))].map((words) => `${name}: ${words}`)
    })
  }
  const write = async ({ client }: Scrubbed): Promise<void> => {
    const before = client.counts.acknowledgedWrites
    client.start()
    await until(async () => client.counts.acknowledgedWrites - before, (count) => count >= WRITES)
    await client.pause()
  }

  /** @param meanwhile  is done while it goes on */
  const scrub = async ({ name }: Scrubbed, meanwhile?: () => Promise<void>) => {
    const sinceMs = Date.now()
    const { nodes, refused } = await api.scrubVolume({ name, isDeep: true })
    t.same([nodes, refused], [['n1', 'n2', 'n3'], []])
    await meanwhile?.()
    const { copies } = await until(inspect(name), ({ copies }) =>
      copies.every(({ scrubbedAtMs, isScrubbing }) => scrubbedAtMs >= sinceMs && !isScrubbing))
    return copies
  }

  let found = 0
  /** @param kind  of four, what clients do meanwhile */
  const repair = async (volume: Scrubbed, kind: number, counts: number[]): Promise<void> => {
    // What is read meanwhile is right and repaired; what clients go on writing is no damage.
    if (kind === 0) await volume.client.verify()
    // A replica hears of the last commit with the next beacon: what it shows only then is looked at by the next scrub.
    for (let scrubs = 1; ; scrubs++) {
      const copies = await scrub(volume, scrubs === 1 && kind === 1 ? () => write(volume) : undefined)
      t.same(copies.map(({ unrepairedBlocks }) => unrepairedBlocks), [0, 0, 0], `${volume.name}: ${counts.join()}`)
      const foundNow = copies.reduce((sum, { damagedBlocks }) => sum + damagedBlocks, 0)
      found += foundNow
      if (foundNow === 0) break
    }
  }

  let damaged = 0
  let hurt = 0
  for (let round = 1; round <= ROUNDS; round++) {
    await Promise.all(volumes.map(write))
    const patterns = damage()
    for (const { counts, blocks } of patterns) {
      hurt += blocks
      damaged += counts.reduce((sum, count) => sum + count, 0)
    }
    await Promise.all(volumes.map((volume, i) => repair(volume, (round + i) % 4, patterns[i]!.counts)))
    t.same(wrongOnDisks(), [], `round ${round}`)
  }
  for (const { name, client } of volumes) {
    // The node of the primary compares all copies when its own was scrubbed.
    const isCompared = ({ comparedAtMs }: { comparedAtMs: number }): boolean => comparedAtMs > 0
    const { copies } = await until(inspect(name), (volume) => volume.copies.some(isCompared))
    t.match(copies.filter(isCompared), [{ role: 'primary', differences: 0 }])
    await client.verify()
    t.same(client.problems, [], `${name}: ${client.counts.verifiedBlocks} blocks verified`)
    t.equal(client.counts.errors + client.reconnects, 0)
  }
  // A copy that is asked for a block it has damaged too repairs it then (SPEC D4): its own scrub finds nothing there.
  t.ok(found > hurt / 2, `${hurt} blocks damaged on ${damaged} places, ${found} of them found by scrubs`)

  const told = cluster.nodes.flatMap((node) => node.log()).filter(({ message }) => message === FOUND_DAMAGE)
  const toldBlocks = told.reduce((sum, { damaged }) => sum + (damaged as number), 0)
  t.equal(toldBlocks, found, `${told.length} scrubs say in daemon.log what they found`)

  // No read needs headers of the log: what lies behind them is moved, and their segments are given back.
  const [, node] = cluster.nodes
  const sealed = sealedOnDisk(disks[1]!)
  const chosen = [...sealed.keys()].slice(0, HEADERS)
  t.equal(chosen.length, HEADERS)
  damageHeaders(disks[1]!, chosen)
  await Promise.all(volumes.map((volume) => scrub(volume)))
  await until(async () => sealedOnDisk(disks[1]!), (now) =>
    chosen.every((segment) => now.get(segment) !== sealed.get(segment)))
  const headers = node!.log().filter(({ what }) => what === 'batch header').map(({ segment }) => segment)
  t.same(headers.sort(), chosen.sort())

  t.match((await run('volume', 'scrub', 'data')).stdout, /^the map of volume data is looked at on n1, n2, n3: see/)
  t.match((await run('volume', 'inspect', 'data')).stdout, /^scrubbed +n1 \d+s ago.*; n2 .*; n3 /m)
  t.match((await run('status')).stdout, /stored block\(s\) failed their checksum/)
  t.match((await run('volume', 'scrub', 'nothing')).stderr, /nothing/)
  // More of each than a disk may lose; there is nowhere else, and so the copies stay.
  t.match((await run('disk', 'ls')).stdout.match(/suspect/g), ['suspect', 'suspect', 'suspect'])
  await Promise.all(volumes.map(({ client }) => client.close()))
  t.same(await Promise.all(cluster.nodes.map((node) => node.stop())), [0, 0, 0], 'all stop cleanly')
  t.same(wrongOnDisks(), [])
})

t.test('a disk of which many blocks were damaged is suspect, and its copy goes elsewhere', async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { names: ['n1', 'n2', 'n3', 'n4'], diskBytes: 320 * MIB })
  await cluster.start()
  const { api: endpoint, nbd: socketPath } = cluster.node('n1').paths
  const api = connectControlApi({ socketPath: endpoint, source: 'the test' })
  t.teardown(() => api.close())
  const inspect = () => api.getVolume({ name: 'data' })
  await until(() => api.listDisks(), ({ disks }) => disks.length === 4)
  await api.createVolume({ name: 'data', sizeBytes: 8 * MIB, parameters: { replicas: '2' } })
  const made = await until(inspect, ({ health, copies }) => health === 'healthy' && copies.length === 3)
  const client = new StampedClient({ socketPath, exportName: 'data', random: Math.random, depth: 8 })
  t.teardown(() => client.close())
  await client.connected()
  await client.fill()
  const bad = made.copies.find(({ role }) => role === 'replica')!.node
  const diskPath = cluster.node(bad).config.disks[0]!.path
  const [of] = placesOnDisk(diskPath, [made.id])
  const places = [...of!.values()]
  t.ok(places.length > 1000, `${places.length} blocks`)
  const fd = openSync(diskPath, 'r+')
  for (const at of places.slice(0, 300)) writeSync(fd, Buffer.alloc(SECTOR_BYTES, 0xa5), 0, SECTOR_BYTES, at)
  closeSync(fd)
  await api.scrubVolume({ name: 'data', isDeep: true })
  const suspect = await until(() => api.listDisks(), ({ disks }) => disks.some(({ state }) => state === 'suspect'))
  t.match(suspect.disks.filter(({ state }) => state === 'suspect'), [{ node: bad, reason: /128 blocks of it/ }])
  // Before, it would overwrite what the scrub is to find.
  client.start()
  await until(inspect, ({ copies }) =>
    copies.length === 3 && copies.every(({ node, state }) => node !== bad && state === 'in-sync'))
  const isEmpty = ({ next }: { next: string }): boolean => /may be taken out/.test(next)
  const page = await until(() => api.status(), ({ problems }) => problems.some(isEmpty))
  t.match(page.problems.find(isEmpty), {
    what: `disk ${diskPath} of node ${bad}`, why: /^suspect: 128 blocks/,
  })
  await client.pause()
  await client.verify()
  t.same(client.problems, [], `${client.counts.verifiedBlocks} blocks verified`)
  t.equal(client.counts.errors + client.reconnects, 0)
  await cluster.node(bad).killNode()
  await cluster.node(bad).start()
  const after = await until(() => api.listDisks(), ({ disks }) => disks.some((disk) => disk.node === bad))
  t.match(after.disks.find(({ node }) => node === bad), { state: 'suspect', reason: /128 blocks of it/ })
})
