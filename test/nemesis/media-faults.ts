/**
 * Faults of what one node keeps: errors of its disk, damage at rest, files that are lost, old, swapped or another
 * node's, a file system that is full. Always the same node's, so that every block is whole on the others.
 */
import { closeSync, copyFileSync, cpSync, fstatSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { ClusterNodeProcess } from '../cluster/cluster-node-process.ts'
import { otherBootMissing, underOtherBoot } from '../cluster/other-boot.ts'
import type { Random } from '../sim/random.ts'
import { exchangeDisk } from './empty-disk.ts'
import type { Fault } from './fault.ts'
import type { Scene, SceneVolume } from './scene.ts'
import { MOUNT_MISSING } from './small-file-system.ts'
import { inject, straceMissing } from './system-call-faults.ts'

const READS = 'pread64,preadv'
/** Reads of what is in memory, at once or not at all: those that are refused are made again, and may fail. */
const READS_AT_ONCE = 'preadv2'
const WRITES = 'pwrite64,pwritev,pwritev2'
const SYNCS = 'fdatasync,fsync'
const ERROR_MS = 2000
/** Of the blocks, in large reads. */
const READ_SHARE = 0.5
const SLOW_MS = 5000
const FULL_MS = 4000
const HUNG_MS = 10_000
const PROGRESS = 20
/** Half of them are back before they are let go. */
const DOWN_MS = 5000
/** The start of a disk holds superblocks and roots; it is damaged like the rest. */
const SECTOR_BYTES = 512
const SPOTS = 40
const TRIES = 4000
const REFUSED_MS = 20_000

const diskOf = ({ config }: ClusterNodeProcess): string => config.disks[0]!.path

async function restart(node: ClusterNodeProcess, whileDown: () => void = () => undefined): Promise<void> {
  await node.killNode()
  whileDown()
  await node.start()
}

/** The disk is out of use until its node starts again. */
async function failDisk(scene: Scene, calls: string, random: Random): Promise<string | undefined> {
  const { mediaNode: node, folder } = scene
  const what = 'error=EIO:when=1'
  const count = await inject({ pid: node.pid, file: diskOf(node), calls, what, forMs: ERROR_MS, folder })
  await sleep(random.int(1000))
  await restart(node)
  return count === 0 ? undefined : `${count} calls of ${node.name}`
}

/** Places of a disk that hold something. */
function usedSpots(fd: number, random: Random, stepBytes: number): number[] {
  const block = Buffer.alloc(stepBytes)
  const { size } = fstatSync(fd)
  const spots: number[] = []
  // Of many places, since a disk that was just made is almost empty.
  for (let i = 0; i < TRIES && spots.length < SPOTS; i++) {
    const at = random.int(Math.floor(size / stepBytes)) * stepBytes
    readSync(fd, block, 0, stepBytes, at)
    if (block.some((byte) => byte !== 0)) spots.push(at)
  }
  return spots
}

function onDisk(node: ClusterNodeProcess, damage: (fd: number) => number): number {
  const fd = openSync(diskOf(node), 'r+')
  try {
    return damage(fd)
  } finally {
    closeSync(fd)
  }
}

function flipBits(fd: number, random: Random): number {
  const byte = Buffer.alloc(1)
  const spots = usedSpots(fd, random, SECTOR_BYTES)
  for (const spot of spots) {
    const at = spot + random.int(SECTOR_BYTES)
    readSync(fd, byte, 0, 1, at)
    byte[0]! ^= 1 << random.int(8)
    writeSync(fd, byte, 0, 1, at)
  }
  return spots.length
}

/** Blocks become zeroes, or what another block is. */
function misplaceBlocks(fd: number, random: Random): number {
  const spots = usedSpots(fd, random, BLOCK_BYTES)
  const block = Buffer.alloc(BLOCK_BYTES)
  for (const [i, at] of spots.entries()) {
    if (random.chance(0.5)) block.fill(0)
    else readSync(fd, block, 0, BLOCK_BYTES, spots[(i + 1) % spots.length]!)
    writeSync(fd, block, 0, BLOCK_BYTES, at)
  }
  return spots.length
}

async function damage(scene: Scene, random: Random, how: typeof flipBits): Promise<string | undefined> {
  const node = scene.mediaNode
  const isDown = random.chance(0.5)
  let count = 0
  if (isDown) await restart(node, () => (count = onDisk(node, (fd) => how(fd, random))))
  else count = onDisk(node, (fd) => how(fd, random))
  return count === 0 ? undefined : `${count} places of ${node.name}, which ${isDown ? 'was down' : 'runs'}`
}

/** Its start is refused, with a sentence. */
async function refused(node: ClusterNodeProcess): Promise<string> {
  node.stderr = ''
  node.spawn()
  const ended = await Promise.race([node.ended().then(() => true), sleep(REFUSED_MS, false)])
  if (!ended) throw new Error(`${node.name} runs with a disk that is not its own`)
  if (!/^holdfast: /m.test(node.stderr)) throw new Error(`${node.name} ended without a sentence: ${node.stderr}`)
  return node.stderr.trim()
}

/**
 * What is asked of the disk of a replica, or of a primary, is answered after ten seconds. Clients wait less: a replica
 * is let go, and a primary gives its lead away, by itself while its loop goes on.
 */
function hungDisk(what: string, calls: string, leads: boolean): Fault {
  return {
    row: 19, name: `${what} of a ${leads ? 'primary' : 'replica'} hang`, kind: 'media', missing: straceMissing,
    async run(scene, random) {
      const { mediaNode: node, folder } = scene
      const { name, pid } = node
      const there: SceneVolume[] = []
      for (const volume of scene.volumes) {
        const { members } = await scene.config(volume)
        if (volume.durability === 'durable' && members[name] !== undefined) there.push(volume)
      }
      if (there.length === 0) return undefined
      const volume = random.pick(there)
      const other = (await scene.config(volume)).inSync.find((one) => one !== name)!
      await scene.leadBy(volume, leads ? node : scene.cluster.node(other))
      const before = await scene.config(volume)
      const delay = { calls, what: `delay_enter=${HUNG_MS * 1000}`, forMs: HUNG_MS + SLOW_MS }
      const injected = inject({ pid, file: diskOf(node), ...delay, folder })
      const hung = Promise.race([injected.then(() => true), sleep(HUNG_MS, true)])
      const left = gone(scene, volume, name, leads)
      const isHeld = await Promise.race([left.then(() => false), hung])
      if (!isHeld) await scene.progress(PROGRESS)
      const count = await injected
      if (count === 0) return undefined
      if (isHeld) {
        const sets = `${JSON.stringify(before)}, then ${JSON.stringify(await scene.config(volume))}`
        throw new Error(`${volume.name} waits for the disk of ${name}: ${sets}`)
      }
      const did = leads ? 'gave its lead away' : 'was let go'
      return `${count} of ${name}, a copy of ${volume.name} that ${did} after ${Math.round(await left)} ms`
    },
  }
}

/** A copy is in no set any more, or does not lead. @returns after how long */
async function gone(scene: Scene, volume: SceneVolume, name: string, leads: boolean): Promise<number> {
  const beganMs = performance.now()
  for (;;) {
    const { primary, inSync } = await scene.config(volume)
    if (leads ? primary !== name : !inSync.includes(name)) return performance.now() - beganMs
    await sleep(50)
  }
}

export const MEDIA_FAULTS: readonly Fault[] = [
  {
    row: 4, name: 'a node loses power', kind: 'media',
    missing: ({ small }) => (small.node === undefined ? MOUNT_MISSING : otherBootMissing()),
    async run({ mediaNode: node, small, folder }, random) {
      const downMs = random.int(DOWN_MS)
      await node.killNode()
      small.node!.losePower()
      await sleep(downMs)
      node.under = underOtherBoot(`${folder}/${node.name}.boot`)
      await node.start()
      return `${node.name}, for ${downMs} ms`
    },
  },
  {
    row: 13, name: 'the file system of a node is full', kind: 'media',
    missing: ({ small }) => (small.node === undefined ? MOUNT_MISSING : undefined),
    async run({ small, mediaNode }, random) {
      const forMs = 1000 + random.int(FULL_MS)
      small.node!.fill()
      await sleep(forMs)
      small.node!.free()
      return `${mediaNode.name} for ${forMs} ms`
    },
  },
  {
    row: 14, name: 'reads fail', kind: 'media', missing: straceMissing,
    async run(scene) {
      const { mediaNode, folder, volumes } = scene
      // Only who leads reads for clients, and what was just written is not read from the disk.
      const led = await Promise.all(volumes.map((volume) => scene.leadBy(volume, mediaNode)))
      const { pid, name } = mediaNode
      const calls = { calls: READS, what: 'error=EIO:when=3+7', refused: READS_AT_ONCE }
      const injected = inject({ pid, file: diskOf(mediaNode), ...calls, forMs: ERROR_MS, folder })
      const [count] = await Promise.all([
        injected, ...volumes.map(({ client }, i) => (led[i] ? client.verify(READ_SHARE) : undefined)),
      ])
      return count === 0 ? undefined : `${count} of ${name}`
    },
  },
  {
    row: 15, name: 'a sync fails', kind: 'media', missing: straceMissing,
    run: (scene, random) => failDisk(scene, SYNCS, random),
  },
  {
    row: 15, name: 'a write fails', kind: 'media', missing: straceMissing,
    run: (scene, random) => failDisk(scene, WRITES, random),
  },
  { row: 16, name: 'bits flip at rest', kind: 'media', run: (scene, random) => damage(scene, random, flipBits) },
  {
    row: 17, name: 'blocks are zeroed or others', kind: 'media',
    run: (scene, random) => damage(scene, random, misplaceBlocks),
  },
  {
    row: 19, name: 'a slow disk', kind: 'media', missing: straceMissing,
    async run({ mediaNode, folder }, random) {
      const { pid, name } = mediaNode
      const delayMs = 100 + random.int(3000)
      const what = `delay_enter=${delayMs * 1000}`
      const forMs = 1000 + random.int(SLOW_MS)
      const count = await inject({ pid, file: diskOf(mediaNode), calls: SYNCS, what, forMs, folder })
      return count === 0 ? undefined : `${count} syncs of ${name}, ${delayMs} ms each`
    },
  },
  hungDisk('syncs', SYNCS, false),
  hungDisk('syncs', SYNCS, true),
  hungDisk('writes', WRITES, false),
  hungDisk('writes', WRITES, true),
  {
    row: 21, name: 'a node is put back to an older state', kind: 'media',
    async run(scene) {
      const node = scene.mediaNode
      const disk = diskOf(node)
      const kept = { disk: `${scene.folder}/old.disk`, index: `${scene.folder}/old.index` }
      await restart(node, () => {
        copyFileSync(disk, kept.disk)
        cpSync(node.paths.index, kept.index, { recursive: true })
      })
      await scene.whole()
      await scene.progress(50)
      await restart(node, () => {
        renameSync(kept.disk, disk)
        rmSync(node.paths.index, { recursive: true })
        cpSync(kept.index, node.paths.index, { recursive: true })
        rmSync(kept.index, { recursive: true })
      })
      return node.name
    },
  },
  {
    row: 23, name: 'an index is deleted', kind: 'media',
    async run({ mediaNode }) {
      await restart(mediaNode, () => rmSync(mediaNode.paths.index, { recursive: true }))
      return `of ${mediaNode.name}`
    },
  },
  {
    row: 23, name: 'a disk is wiped', kind: 'media',
    async run({ mediaNode }) {
      await restart(mediaNode, () => exchangeDisk(mediaNode))
      return `of ${mediaNode.name}`
    },
  },
  {
    row: 23, name: 'disks of two nodes are swapped', kind: 'media',
    async run(scene, random) {
      const one = scene.mediaNode
      const other = random.pick(scene.nodes.filter((node) => node !== one))
      const swap = (): void => {
        const aside = `${diskOf(one)}.aside`
        renameSync(diskOf(one), aside)
        renameSync(diskOf(other), diskOf(one))
        renameSync(aside, diskOf(other))
      }
      await Promise.all([one.killNode(), other.killNode()])
      swap()
      const sentences = await Promise.all([refused(one), refused(other)])
      swap()
      await Promise.all([one.start(), other.start()])
      return `${one.name} and ${other.name}: ${sentences[0]}`
    },
  },
  {
    row: 23, name: "a node gets a clone of another's disk", kind: 'media',
    async run(scene, random) {
      const node = scene.mediaNode
      const other = random.pick(scene.nodes.filter((one) => one !== node))
      const own = `${diskOf(node)}.own`
      await node.killNode()
      renameSync(diskOf(node), own)
      copyFileSync(diskOf(other), diskOf(node))
      const sentence = await refused(node)
      renameSync(own, diskOf(node))
      await node.start()
      return `${node.name}: ${sentence}`
    },
  },
]
