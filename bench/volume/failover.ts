/**
 * Suite `failover`: three nodes as processes and the embedded cluster store; a client writes 4 KiB after 4 KiB through
 * a node that stays while the primary of its volume is killed with -9. Measured is the time from the kill to the first
 * acknowledged write that was sent after it: of the daemon alone, whose supervisor tells the peers, and of daemon and
 * supervisor at once, as a host that dies, of which nobody tells.
 */
import { MIB } from '../../engine/units.ts'
import { ClusterOfDaemons } from '../../test/cluster/cluster-of-daemons.ts'
import { NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'
import { pause } from './scratch.ts'
import type { SuiteContext, SuiteOutcome } from './suite.ts'

const RUNS = 20
const VOLUME_BYTES = 64 * MIB
const BLOCK_BYTES = 4096
/** Between the end of one failover, everybody back in the set, and the next kill. */
const CALM_MS = 500
/** What leases and their grace leave for a host that nobody reports, and for one that is reported. */
const LIMIT_MS = { daemon: 1000, host: 5000 }

type Victim = keyof typeof LIMIT_MS

/** Writes one after the other until it is stopped; notes when each was sent and answered. */
class Writer {
  readonly #connection: NbdConnection
  readonly #answered: Array<{ sentMs: number; atMs: number }> = []
  #isOver = false
  readonly #ended: Promise<void>

  constructor(connection: NbdConnection) {
    this.#connection = connection
    this.#ended = this.#run()
  }

  async #run(): Promise<void> {
    const data = Buffer.alloc(BLOCK_BYTES, 7)
    for (let block = 0; !this.#isOver; block = (block + 1) % (VOLUME_BYTES / BLOCK_BYTES)) {
      const sentMs = performance.now()
      const answer = await this.#connection.ask({ type: WRITE, offset: block * BLOCK_BYTES, data })
      if (answer === 'closed' || answer.errno !== 0) throw new Error(`a write failed: ${JSON.stringify(answer)}`)
      this.#answered.push({ sentMs, atMs: performance.now() })
    }
  }

  /** When the first write that was sent after that moment was answered. */
  async firstAfter(momentMs: number): Promise<number> {
    for (;;) {
      const found = this.#answered.find(({ sentMs }) => sentMs > momentMs)
      if (found !== undefined) return found.atMs
      await Promise.race([pause(1), this.#ended])
    }
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#ended
  }
}

async function runOne(cluster: ClusterOfDaemons, volumeId: string, victim: Victim): Promise<number> {
  const { primary } = await cluster.whole(volumeId)
  await pause(CALM_MS)
  const node = cluster.node(primary)
  const client = cluster.nodes.find(({ name }) => name !== primary)!
  const connection = await NbdConnection.open(client.paths.nbd, 'data', true)
  if (connection === undefined) throw new Error(`${client.name} does not serve the volume`)
  const writer = new Writer(connection)
  await writer.firstAfter(performance.now() + CALM_MS)
  const back = victim === 'daemon' ? node.ready() : undefined
  const killedMs = performance.now()
  const killed = victim === 'daemon' ? node.killDaemon() : node.killNode()
  const tookMs = (await writer.firstAfter(killedMs)) - killedMs
  await writer.stop()
  await connection.disconnect()
  await killed
  if (back === undefined) await node.start()
  else await back
  return tookMs
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!

export async function measureFailover({ print, quick, scratch }: SuiteContext): Promise<SuiteOutcome> {
  const ends: Array<() => unknown> = [() => scratch.remove()]
  const cluster = await ClusterOfDaemons.make({ teardown: (end: () => unknown) => void ends.push(end) })
  try {
    const { id } = await cluster.makeVolume({ name: 'data', sizeBytes: VOLUME_BYTES })
    await cluster.start()
    const goals: SuiteOutcome['goals'] = []
    for (const victim of ['daemon', 'host'] as const) {
      const times: number[] = []
      for (let run = 0; run < (quick ? 2 : RUNS); run++) {
        times.push(await runOne(cluster, id, victim))
        print(`${victim} ${run + 1}: first write after ${Math.round(times.at(-1)!)} ms`)
      }
      times.sort((a, b) => a - b)
      const [p50, p99] = [at(times, 0.5), at(times, 0.99)]
      const words = [p50, p99, times[0]!].map((ms) => `${Math.round(ms)} ms`)
      goals.push({
        name: `kill -9 of the primary's ${victim}, to the first acknowledged write`,
        wanted: `p99 <= ${LIMIT_MS[victim]} ms`,
        measured: `p50 ${words[0]}, p99 ${words[1]} (least ${words[2]}, ${times.length} runs)`,
        met: p99 <= LIMIT_MS[victim],
      })
    }
    const text = 'Three nodes and the store on one machine, leases and grace as they are by default; no request ' +
      'failed. The daemon is reported to its peers by its supervisor; of the host nobody tells.'
    return { goals, text }
  } finally {
    for (const end of ends.reverse()) await end()
  }
}
