/**
 * Suite `creation`: how long a volume of three copies takes to be made, attached, listed and detached, one after the
 * other, when a cluster of three daemons has ten volumes, and when it has a thousand; and a hundred made and attached
 * at once. What grows with the number of volumes shows in the ratio.
 */
import type { ControlClient } from '../../cluster/api/client.ts'
import { GIB, MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import type { Goal } from './goal.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const FEW = 10
const MANY = 1000
const CREATED = 50
const AT_ONCE = 100
/** Clients that create at the same time. */
const CLIENTS = 10
const PAGE = 100

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

interface Figures {
  createMs: number
  attachMs: number
  listMs: number
  detachMs: number
}

export async function measureCreation({ scratch, print, quick }: SuiteContext): Promise<SuiteOutcome> {
  const many = quick ? 50 : MANY
  scratch.needRoom(14 * GIB)
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const cluster = await ClusterOfDaemons.make(t, { dir: scratch.dir, diskBytes: 4 * GIB })
  try {
    await cluster.start()
    for (const { pid } of cluster.nodes) scratch.watchOver(pid)
    const api = cluster.api('n1')
    while ((await api.listNodes()).nodes.filter(({ disks }) => disks.length === 1).length < 3) await pause(50)
    const volumes = new Volumes(api)
    while (volumes.count < FEW) await volumes.create()
    const few = await oneByOne(api, volumes)
    print(`at ${FEW} volumes: ${words(few)}`)
    const beganMs = performance.now()
    await Promise.all(Array.from({ length: CLIENTS }, async (_, i) => {
      for (let made = i; made < AT_ONCE; made += CLIENTS) {
        const { name } = await volumes.create()
        await api.attachVolume({ name, node: `n${1 + (made % 3)}`, mode: '', force: false, primary: true })
      }
    }))
    const seconds = (performance.now() - beganMs) / 1000
    print(`${AT_ONCE} made and attached by ${CLIENTS} clients: ${seconds.toFixed(1)} s`)
    await Promise.all(Array.from({ length: CLIENTS }, async () => {
      while (volumes.count < many) await volumes.create()
    }))
    const lots = await oneByOne(api, volumes)
    print(`at ${many} volumes: ${words(lots)}`)
    const text = [
      '| volumes that are there | create | attach, with the lead | a page of 100 | detach |', '|---|---|---|---|---|',
      `| ${FEW} | ${cells(few)} |`, `| ${many} | ${cells(lots)} |`, '',
      `Medians of ${CREATED}, one after the other. ${AT_ONCE} volumes made and attached by ${CLIENTS} clients: ` +
        `${seconds.toFixed(1)} s.`,
    ].join('\n')
    return { goals: goalsOf(few, lots, seconds), text }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

class Volumes {
  count = 0
  readonly #api: ControlClient

  constructor(api: ControlClient) {
    this.#api = api
  }

  create() {
    const parameters = { replicas: '2', 'attach-mode': 'single' }
    return this.#api.createVolume({ name: `v${this.count++}`, sizeBytes: MIB, parameters })
  }
}

async function oneByOne(api: ControlClient, volumes: Volumes): Promise<Figures> {
  const took = { createMs: [] as number[], attachMs: [] as number[], listMs: [] as number[], detachMs: [] as number[] }
  const timed = async (into: number[], call: () => Promise<unknown>): Promise<void> => {
    const beganMs = performance.now()
    await call()
    into.push(performance.now() - beganMs)
  }
  for (let i = 0; i < CREATED; i++) {
    const name = `v${volumes.count}`
    await timed(took.createMs, () => volumes.create())
    await timed(took.attachMs, () => api.attachVolume({ name, node: 'n2', mode: '', force: false, primary: true }))
    await timed(took.listMs, () => api.listVolumes({ limit: PAGE, after: '' }))
    await timed(took.detachMs, () => api.detachVolume({ name, node: 'n2' }))
  }
  const { createMs, attachMs, listMs, detachMs } = took
  return {
    createMs: median(createMs), attachMs: median(attachMs), listMs: median(listMs), detachMs: median(detachMs),
  }
}

const ms = (value: number): string => `${value.toFixed(0)} ms`
const cells = ({ createMs, attachMs, listMs, detachMs }: Figures): string =>
  [createMs, attachMs, listMs, detachMs].map(ms).join(' | ')
const words = ({ createMs, attachMs, listMs, detachMs }: Figures): string =>
  `create ${ms(createMs)}, attach ${ms(attachMs)}, page ${ms(listMs)}, detach ${ms(detachMs)}`

function goalsOf(few: Figures, lots: Figures, seconds: number): Goal[] {
  const ratio = lots.createMs / few.createMs
  return [
    {
      name: `a volume is made, p50 of ${CREATED}`, wanted: '<= 500 ms', measured: ms(few.createMs),
      met: few.createMs <= 500,
    },
    {
      name: 'the same with a thousand volumes', wanted: '<= 2 times that', measured: `${ratio.toFixed(2)} times`,
      met: ratio <= 2,
    },
    {
      name: `${AT_ONCE} volumes made and attached`, wanted: '<= 60 s', measured: `${seconds.toFixed(1)} s`,
      met: seconds <= 60,
    },
  ]
}
