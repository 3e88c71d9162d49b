/**
 * Kills under load: a node with a small disk, a durable and a writeback volume that fill it so that the cleaner never
 * rests, a stamped client on each, and `kill -9` at random moments: of the daemon, of a daemon that is just recovering,
 * of the supervisor; some of the restarts find their index deleted or damaged, or another number of workers. After
 * each one both clients must connect again, and what they read must be what they wrote.
 *
 * The choices repeat with the seed; the moments at which processes are hit do not.
 */
import path from 'node:path'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { Random } from '../sim/random.ts'
import { NodeHost } from './node-host.ts'

export interface KillRunOptions {
  kills: number
  seed: number
  /** Everything lies here; a short path, for its sockets. */
  folder: string
  diskBytes: number
  /** Of each of the two volumes. */
  volumeBytes: number
  /** How much of the volumes is read after each kill, 0..1; all of it in the end. */
  verifyShare: number
  tell: (line: string) => void
}

export interface KillReport {
  kills: number
  rebuilds: number
  damages: string[]
  problems: string[]
  /** Spans from a kill to the next answer. */
  backMs: number[]
  counts: Record<string, number>
}

type Kind = 'daemon' | 'recovering' | 'node' | 'index deleted' | 'index damaged' | 'workers changed'

const KINDS: ReadonlyArray<readonly [Kind, number]> = [
  ['daemon', 0.44], ['recovering', 0.2], ['node', 0.1], ['index deleted', 0.1], ['index damaged', 0.1],
  ['workers changed', 0.06],
]
/** About how long a start takes: kills during recovery fall into it. */
const START_MS = 700
const LOAD_MS_MAX = 500
const BACK_MS_MAX = 60_000

const sleep = (timeMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, timeMs))

export async function runKills(options: KillRunOptions): Promise<KillReport> {
  const { kills, seed, folder, diskBytes, volumeBytes, verifyShare, tell } = options
  const random = new Random(seed)
  const chance = (): number => random.float()
  const host = new NodeHost(folder, ['--disk', `path=${path.join(folder, 'disk0')},size=${diskBytes}`])
  const report: KillReport = { kills: 0, rebuilds: 0, damages: [], problems: [], backMs: [], counts: {} }
  const clients = [['durable', false], ['writeback', true]].map(([name, writeback]) => new StampedClient({
    socketPath: host.paths.nbd, exportName: name as string, writeback: writeback as boolean, random: chance, depth: 24,
  }))
  let workers = 1
  let pid = 0

  const start = (): void => host.start(['--workers', String(workers)])

  /** The daemon is dead: which sessions were the last with it, and when. */
  let dead: { sessions: number[]; atMs: number } = { sessions: [], atMs: 0 }
  const died = (): void => {
    dead = { sessions: clients.map(({ sessions }) => sessions), atMs: performance.now() }
  }

  const killDaemon = async (): Promise<void> => {
    pid = await host.killDaemon()
    report.kills++
    died()
  }

  /** Both clients are connected to the daemon that serves now. */
  const backAgain = async (): Promise<void> => {
    pid = await host.ready(pid)
    for (const [index, client] of clients.entries()) {
      while (client.sessions === dead.sessions[index]) await sleep(1)
    }
    report.backMs.push(performance.now() - dead.atMs)
    await Promise.all(clients.map((client) => client.verify(verifyShare)))
  }

  const downThen = async (whileDown: () => void): Promise<void> => {
    pid = await host.killNode()
    report.kills++
    died()
    whileDown()
    start()
  }

  const actions: Record<Kind, () => Promise<void>> = {
    daemon: killDaemon,
    async recovering() {
      await killDaemon()
      await host.spawned(pid)
      await sleep(chance() * START_MS)
      await killDaemon()
    },
    node: () => downThen(() => {}),
    'index deleted': () => downThen(() => {
      host.deleteIndex()
      report.rebuilds++
    }),
    'index damaged': () => downThen(() => {
      report.damages.push(host.damageIndex(chance))
      tell(`    ${report.damages.at(-1)}`)
    }),
    'workers changed': () => downThen(() => {
      workers = 3 - workers
    }),
  }

  try {
    start()
    pid = await host.ready(0)
    const control = host.client()
    for (const durability of ['durable', 'writeback']) {
      await control.createVolume({ name: durability, sizeBytes: volumeBytes, parameters: { durability } })
    }
    control.close()
    await Promise.all(clients.map((client) => client.fill()))
    for (const client of clients) client.start()

    while (report.kills < kills && report.problems.length === 0) {
      await sleep(20 + chance() * LOAD_MS_MAX)
      const kind = pick(chance())
      await actions[kind]()
      await within(BACK_MS_MAX, backAgain(), () => `not back after ${kind}: ${host.complaints().slice(-3).join('\n')}`)
      for (const client of clients) report.problems.push(...client.problems)
      tell(`kill ${report.kills}: ${kind}, back after ${Math.round(report.backMs.at(-1)!)} ms`)
    }
    await Promise.all(clients.map((client) => client.pause()))
    if (report.problems.length === 0) await afterwards()
  } finally {
    for (const client of clients) {
      for (const [name, count] of Object.entries(client.counts)) {
        report.counts[name] = (report.counts[name] ?? 0) + count
      }
    }
    await host.killNode()
    await Promise.all(clients.map((client) => client.close()))
  }
  return report

  /** Everything is read; again after a clean stop; and once more from a rebuilt index. */
  async function afterwards(): Promise<void> {
    for (const prepare of [undefined, () => {}, () => host.deleteIndex()]) {
      if (prepare !== undefined) {
        const stopped = await host.stop()
        if (stopped.code !== 0) report.problems.push(`the node did not stop cleanly: exit ${stopped.code}`)
        died()
        prepare()
        start()
        await backAgain()
      }
      await Promise.all(clients.map((client) => client.verify()))
    }
    report.problems.push(...clients.flatMap(({ problems }) => problems))
    const bugs = host.complaints().filter((line) => !/the index/.test(line))
    report.problems.push(...bugs.map((line) => `daemon.log: ${line}`))
  }
}

async function within(timeMs: number, work: Promise<void>, otherwise: () => string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise())), timeMs)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function pick(dice: number): Kind {
  let sum = 0
  for (const [kind, share] of KINDS) {
    sum += share
    if (dice < sum) return kind
  }
  return 'daemon'
}
