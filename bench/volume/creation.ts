/**
 * Suite `creation`: what users of Kubernetes wait for, by the calls of CSI. How long a volume of three copies takes to
 * be created, published to a node, listed and unpublished, one after the other, when a cluster of three daemons has ten
 * volumes, and when it has a thousand; a hundred created and published at once; and a blank volume published, staged
 * and published to a pod. What grows with the number of volumes shows in the ratio.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { CsiController, CsiNode, whyNotMounted } from './csi-of-cluster.ts'
import type { Goal } from './goal.ts'
import { memoryOf } from './process-figures.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const FEW = 10
const MANY = 1000
const CREATED = 50
const AT_ONCE = 100
/** Clients that create at the same time. */
const CLIENTS = 10
const PAGE = 100
const FIRST_USES = 5
const FIRST_USE_BYTES = 10 * GIB
/** Volumes are thin; so much of them is let in, twice over. */
const DISK_BYTES = 6 * GIB

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

interface Figures {
  createMs: number
  publishMs: number
  listMs: number
  unpublishMs: number
}

export async function measureCreation({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const many = quick ? 50 : MANY
  scratch.needRoom(3 * DISK_BYTES + 2 * GIB)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes: DISK_BYTES })
  try {
    await cluster.start()
    for (const { pid } of cluster.nodes) scratch.watchOver(pid)
    const api = cluster.api('n1')
    while ((await api.listNodes()).nodes.filter(({ disks }) => disks.length === 1).length < 3) await pause(50)
    const csi = await CsiController.start(t, cluster, scratch)
    const why = whyNotMounted()
    const firstUse = why === undefined ? await firstUses(api, csi, await CsiNode.start(t, cluster)) : why
    print(`blank volume of 10 GiB: ${typeof firstUse === 'string' ? firstUse : useWords(firstUse)}`)
    const volumes = new Volumes(csi)
    while (volumes.count < FEW) await volumes.create()
    const few = await oneByOne(csi, volumes)
    print(`at ${FEW} volumes: ${words(few)}`)
    const beganMs = performance.now()
    await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
      for (let made = i; made < AT_ONCE; made += CLIENTS) {
        await csi.publish(await volumes.create(), `n${1 + (made % 3)}`)
      }
    }))
    const seconds = (performance.now() - beganMs) / 1000
    print(`${AT_ONCE} created and published by ${CLIENTS} clients: ${seconds.toFixed(1)} s`)
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (volumes.count < many) await volumes.create()
    }))
    const lots = await oneByOne(csi, volumes)
    const bytes = await listedWhole(csi)
    print(`at ${many} volumes: ${words(lots)}; the controller has ${mib(bytes)}`)
    const text = [
      '| volumes that are there | CreateVolume | ControllerPublishVolume, with the lead | a page of 100 | unpublish |',
      '|---|---|---|---|---|',
      `| ${FEW} | ${cells(few)} |`, `| ${many} | ${cells(lots)} |`, '',
      `Medians of ${CREATED}, one after the other. ${AT_ONCE} volumes created and published by ${CLIENTS} clients: ` +
        `${seconds.toFixed(1)} s. A blank volume of 10 GiB, \`--device fuse\`, median of ${FIRST_USES}: ` +
        `${typeof firstUse === 'string' ? firstUse : useWords(firstUse)}.`,
    ].join('\n')
    return { goals: goalsOf({ few, lots, seconds, firstUse, bytes }), text }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

class Volumes {
  count = 0
  readonly #csi: CsiController

  constructor(csi: CsiController) {
    this.#csi = csi
  }

  create(): Promise<string> {
    return this.#csi.create(`v${this.count++}`, MIB)
  }
}

const took = async <T>(into: number[], call: () => Promise<T>): Promise<T> => {
  const beganMs = performance.now()
  const done = await call()
  into.push(performance.now() - beganMs)
  return done
}

async function oneByOne(csi: CsiController, volumes: Volumes): Promise<Figures> {
  const [createMs, publishMs, listMs, unpublishMs] = [[], [], [], []] as [number[], number[], number[], number[]]
  for (let i = 0; i < CREATED; i++) {
    const id = await took(createMs, () => volumes.create())
    await took(publishMs, () => csi.publish(id, 'n2'))
    await took(listMs, () => csi.list(PAGE))
    await took(unpublishMs, () => csi.unpublish(id, 'n2'))
  }
  return {
    createMs: median(createMs), publishMs: median(publishMs), listMs: median(listMs), unpublishMs: median(unpublishMs),
  }
}

interface FirstUse {
  attachMs: number
  stageMs: number
  mountMs: number
  /** Median of the sums, not sum of the medians. */
  allMs: number
}

/** What a pod with a new volume waits for, after that was created. */
async function firstUses(api: ControlClient, csi: CsiController, node: CsiNode): Promise<FirstUse> {
  const [attachMs, stageMs, mountMs] = [[], [], []] as [number[], number[], number[]]
  for (let i = 0; i < FIRST_USES; i++) {
    const id = await csi.create(`first-${i}`, FIRST_USE_BYTES)
    const context = await took(attachMs, () => csi.publish(id, 'n2'))
    await took(stageMs, () => node.stage(id, context))
    await took(mountMs, () => node.publish(id, context))
    await node.end(id)
    await csi.unpublish(id, 'n2')
    await api.deleteVolume({ name: id, force: false, purge: true, keep: '' })
    // Room is let for one of them.
    while ((await api.listVolumes({ limit: PAGE, after: '', isInTrash: true })).volumes.length > 0) await pause(50)
  }
  const sums = attachMs.map((ms, i) => ms + stageMs[i]! + mountMs[i]!)
  return { attachMs: median(attachMs), stageMs: median(stageMs), mountMs: median(mountMs), allMs: median(sums) }
}

/** Page by page. @returns what the controller's process has in memory behind that */
async function listedWhole(csi: CsiController): Promise<number> {
  for (let next = ''; ;) {
    const { nextToken } = await csi.list(PAGE, next)
    if (nextToken === '') return memoryOf(csi.pid).rssBytes
    next = nextToken
  }
}

const ms = (value: number): string => `${value.toFixed(0)} ms`
const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`
const cells = ({ createMs, publishMs, listMs, unpublishMs }: Figures): string =>
  [createMs, publishMs, listMs, unpublishMs].map(ms).join(' | ')
const words = ({ createMs, publishMs, listMs, unpublishMs }: Figures): string =>
  `create ${ms(createMs)}, publish ${ms(publishMs)}, page ${ms(listMs)}, unpublish ${ms(unpublishMs)}`
const useWords = ({ attachMs, stageMs, mountMs, allMs }: FirstUse): string =>
  `${ms(allMs)} (ControllerPublishVolume ${ms(attachMs)}, NodeStageVolume ${ms(stageMs)}, `
    + `NodePublishVolume ${ms(mountMs)})`

interface Measured {
  few: Figures
  lots: Figures
  seconds: number
  /** Or why it was not measured. */
  firstUse: FirstUse | string
  /** Of the controller. */
  bytes: number
}

function goalsOf({ few, lots, seconds, firstUse, bytes }: Measured): Goal[] {
  const ratio = lots.createMs / few.createMs
  const isUsed = typeof firstUse !== 'string'
  return [
    {
      name: `CreateVolume, p50 of ${CREATED}`, wanted: '<= 500 ms', measured: ms(few.createMs),
      met: few.createMs <= 500,
    },
    {
      name: 'the same with a thousand volumes', wanted: '<= 2 times that', measured: `${ratio.toFixed(2)} times`,
      met: ratio <= 2,
    },
    {
      name: `${AT_ONCE} volumes created and published`, wanted: '<= 60 s', measured: `${seconds.toFixed(1)} s`,
      met: seconds <= 60,
    },
    {
      name: 'publish, stage and publish of a blank 10 GiB volume', wanted: '<= 3 s',
      measured: isUsed ? ms(firstUse.allMs) : undefined, met: isUsed ? firstUse.allMs <= 3000 : undefined,
      ...(isUsed ? {} : { note: firstUse }),
    },
    {
      name: 'resident memory of the controller with a thousand volumes', wanted: '<= 200 MiB', measured: mib(bytes),
      met: bytes <= 200 * MIB,
    },
  ]
}
