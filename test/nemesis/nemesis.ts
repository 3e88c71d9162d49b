/**
 * Faults one after the other, and sometimes two at once, on a cluster of real processes under load, for as long as is
 * wished: nothing acknowledged may be lost, no request may fail, every pause ends, and all copies are the same in the
 * end. The seed fixes what is done, not what comes of it: times are real.
 */
import { Random } from '../sim/random.ts'
import { contentsOnDisk, differences } from './copies-at-rest.ts'
import { ROW_LEAST } from './fault.ts'
import type { Fault, Row } from './fault.ts'
import { FULL_POOL } from './full-pool.ts'
import { MEDIA_FAULTS } from './media-faults.ts'
import { PATH_FAULTS } from './path-faults.ts'
import { PLAN_FAULTS } from './plan-faults.ts'
import { PROCESS_FAULTS } from './process-faults.ts'
import { ROLLBACK_PLANS } from './rollback-plans.ts'
import { Scene } from './scene.ts'
import { SNAPSHOT_PLANS } from './snapshot-plans.ts'
import type { SceneOptions, SceneVolume } from './scene.ts'
import { STORE_FAULTS } from './store-faults.ts'
import { SYNC_KILLS } from './sync-kills.ts'

export const FAULTS: readonly Fault[] = [
  ...PROCESS_FAULTS, ...SYNC_KILLS, ...PATH_FAULTS, ...STORE_FAULTS, ...MEDIA_FAULTS, FULL_POOL, ...PLAN_FAULTS,
  ...SNAPSHOT_PLANS, ...ROLLBACK_PLANS,
]

/** A second fault beside the first: of another kind, so that they do not undo each other. */
const TWO_AT_ONCE = 0.25
/** It comes to rest before the next fault. */
const REST = 0.5
const BETWEEN_WRITES = 20
const PROBLEMS_MAX = 40
const BUG = /a bug|met a bug/

export interface NemesisOptions extends Omit<SceneOptions, 'random'> {
  seed: number
  seconds: number
  /** Faults of these rows, or whose names hold one of these; all unless given. */
  only?: readonly string[] | undefined
  /** So many faults at most. */
  faultsMax?: number
  tell(line: string): void
  /** Asked between faults. */
  isStopped?(): boolean
}

export interface NemesisReport {
  seed: number
  seconds: number
  faults: Map<Row, number>
  /** Rows and names that cannot be done here, with the reason. */
  missing: Array<{ row: Row; name: string; why: string }>
  writes: number
  reads: number
  /** Of this process, which is the clients with their judge, and the network between the nodes. */
  cpuMs: number
  heldMs: number
  longestHeldMs: number
  violations: string[]
  /** Where the nodes' folders are, when something was wrong; kept. */
  folder: string | undefined
}

export async function runNemesis(options: NemesisOptions): Promise<NemesisReport> {
  const { seed, seconds, only, tell } = options
  const random = new Random(seed)
  const report: NemesisReport = {
    seed, seconds: 0, faults: new Map(), missing: [], writes: 0, reads: 0, cpuMs: 0, heldMs: 0, longestHeldMs: 0,
    violations: [], folder: undefined,
  }
  const beganMs = performance.now()
  const scene = await Scene.make({ ...options, random })
  const readyAfter = inSeconds(performance.now() - beganMs)
  tell(`nodes are ready after ${readyAfter}; disk and folder of ${scene.mediaNode.name} suffer`)
  try {
    const possible = FAULTS.filter((fault) => isSelected(fault, only)).filter((fault) => {
      const why = fault.missing?.(scene)
      if (why !== undefined) report.missing.push({ row: fault.row, name: fault.name, why })
      return why === undefined
    })
    if (possible.length === 0) throw new Error('none of these faults can be done here')
    for (const { client } of scene.volumes) client.start()
    const startedMs = performance.now()
    const cpu = process.cpuUsage()
    const endMs = startedMs + seconds * 1000
    try {
      await new Run(scene, random, report, possible, options).until(endMs)
      await atTheEnd(scene, random, report, tell)
    } catch (error) {
      // The signal reached the nodes too, as one of a terminal does: what they did then is nobody's fault.
      if (options.isStopped?.() === true) tell('stopped by a signal: nothing is said about the end')
      else note(report, error instanceof Error ? error.message : String(error))
    }
    report.seconds = (performance.now() - startedMs) / 1000
    const { user, system } = process.cpuUsage(cpu)
    report.cpuMs = (user + system) / 1000
  } finally {
    for (const { client } of scene.volumes) {
      report.writes += client.counts.acknowledgedWrites
      report.reads += client.counts.reads
      report.heldMs += client.held.ms
      report.longestHeldMs = Math.max(report.longestHeldMs, client.held.longestMs)
      for (const problem of client.problems) note(report, problem)
    }
    try {
      for (const node of scene.nodes) for (const line of bugsOf(node)) note(report, line)
      if (report.violations.length > 0) report.folder = scene.keep()
    } finally {
      await scene.close()
    }
  }
  return report
}

function note({ violations }: NemesisReport, words: string): void {
  if (violations.length < PROBLEMS_MAX && !violations.includes(words)) violations.push(words)
}

const inSeconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

const ROW = /^(\d+|plan|snapshots)$/

const isSelected = ({ row, name }: Fault, only: readonly string[] | undefined): boolean =>
  only === undefined || only.some((word) => word === String(row) || (!ROW.test(word) && name.includes(word)))

/** An assert that failed, or an exception, on a node: never right, whatever was done to it. */
function bugsOf(node: Scene['nodes'][number]): string[] {
  try {
    return node.errors().filter((line) => BUG.test(line))
  } catch (error) {
    // Its file system is gone in the middle of a fault: what ended the run is to be told.
    return [`the log of ${node.name} cannot be read: ${(error as Error).message}`]
  }
}

class Run {
  readonly #scene: Scene
  readonly #random: Random
  readonly #report: NemesisReport
  readonly #faults: readonly Fault[]
  readonly #options: NemesisOptions
  readonly #tries = new Map<Fault, number>()
  /** Tries that met nothing, since the last one of the row that did. */
  readonly #misses = new Map<Row, number>()

  constructor(
    scene: Scene, random: Random, report: NemesisReport, faults: readonly Fault[], options: NemesisOptions,
  ) {
    this.#scene = scene
    this.#random = random
    this.#report = report
    this.#faults = faults
    this.#options = options
  }

  async until(endMs: number): Promise<void> {
    const { faultsMax = Infinity, isStopped = () => false } = this.#options
    const isOver = (): boolean => performance.now() >= endMs || isStopped() || this.#isWrong()
    for (let count = 0; count < faultsMax && !isOver(); count++) {
      const first = this.#next(() => true)
      if (first.kind === 'media') {
        await this.#scene.whole()
        const words = await this.#scene.refillMediaNode()
        if (words !== '') this.#options.tell(`${this.#scene.mediaNode.name}: ${words}`)
      }
      const others = this.#faults.filter(({ kind }) => kind !== 'media' && kind !== first.kind)
      const second = first.kind !== 'media' && others.length > 0 && this.#random.chance(TWO_AT_ONCE)
        ? this.#next((fault) => others.includes(fault)) : undefined
      // Each draws from numbers of its own: how two of them take turns changes nothing.
      const runs = [first, second].filter((fault) => fault !== undefined)
        .map((fault) => ({ fault, random: new Random(this.#random.u32()) }))
      const ends = await Promise.allSettled(runs.map(({ fault, random }) => this.#run(fault, random)))
      for (const end of ends) if (end.status === 'rejected') throw end.reason
      await this.#scene.progress(BETWEEN_WRITES)
      if (first.kind === 'media' || this.#random.chance(REST)) await this.#scene.whole()
    }
  }

  #isWrong(): boolean {
    for (const { client } of this.#scene.volumes) for (const problem of client.problems) note(this.#report, problem)
    return this.#report.violations.length > 0
  }

  /**
   * Rows that were done least come first, until each was done often enough, and of a row, or of all behind that, the
   * faults that were tried least. A row that met nothing waits a round for every time it did.
   */
  #next(isOne: (fault: Fault) => boolean): Fault {
    const ones = this.#faults.filter(isOne)
    const rounds = ({ row }: Fault): number =>
      Math.min(ROW_LEAST, (this.#report.faults.get(row) ?? 0) + (this.#misses.get(row) ?? 0))
    const tries = (fault: Fault): number => this.#tries.get(fault) ?? 0
    const first = leastBy(leastBy(ones, rounds), tries)
    const fault = this.#random.pick(first)
    this.#tries.set(fault, tries(fault) + 1)
    return fault
  }

  async #run(fault: Fault, random: Random): Promise<void> {
    const { row, name } = fault
    const beganMs = performance.now()
    const words = await fault.run(this.#scene, random).catch((error: unknown) => {
      throw new Error(`row ${row}: ${name}: ${error instanceof Error ? error.message : String(error)}`)
    })
    const tookMs = performance.now() - beganMs
    this.#options.tell(`row ${row}: ${name}: ${words ?? 'no occasion'} (${inSeconds(tookMs)})`)
    const counts = words === undefined ? this.#misses : this.#report.faults
    counts.set(row, (counts.get(row) ?? 0) + 1)
    if (words !== undefined) this.#misses.delete(row)
  }
}

/** All for which the number is the least. */
function leastBy<T>(ones: readonly T[], number: (one: T) => number): T[] {
  const least = Math.min(...ones.map(number))
  return ones.filter((one) => number(one) === least)
}

/** Everything is read, by primaries on the node that suffered too; then the disks are held against each other. */
async function atTheEnd(
  scene: Scene, random: Random, report: NemesisReport, tell: (line: string) => void,
): Promise<void> {
  if (scene.isWrong) return
  await scene.whole()
  await Promise.all(scene.volumes.map(({ client }) => client.pause()))
  await Promise.all(scene.volumes.map(({ client }) => client.verify()))
  await scene.snapshots.judgeAll(random)
  // What is damaged there is noticed, and repaired, when it is read there.
  for (const volume of scene.volumes) if (await scene.leadBy(volume, scene.mediaNode)) await volume.client.verify()
  await scene.snapshots.judgeAll(random)
  await scene.whole()
  for (const volume of scene.volumes) {
    // Each break took a generation, and nothing else does where nobody attaches.
    const { breaks } = volume.client.counts
    const taken = (await scene.config(volume)).attach.generation - volume.generation
    if (breaks > taken) note(report, `${volume.name}: ${breaks} times errors, ${taken} sessions that broke`)
    else if (breaks > 0) tell(`${volume.name}: its session broke ${breaks} times`)
  }
  const members = await Promise.all(scene.volumes.map(async (volume) => ({
    volume, nodes: Object.keys((await scene.config(volume)).members),
  })))
  const stops = await Promise.all(scene.nodes.map((node) => node.stop()))
  for (const [i, code] of stops.entries()) {
    if (code !== 0) note(report, `${scene.nodes[i]!.name} did not stop cleanly: exit ${code}`)
  }
  for (const { volume, nodes } of members) compare(scene, report, volume, nodes, tell)
}

function compare(
  scene: Scene, report: NemesisReport, { name, id }: SceneVolume, nodes: string[], tell: (line: string) => void,
): void {
  const views = [{ view: name, viewSeq: undefined as number | undefined }, ...scene.snapshots.viewsOf(name)]
  const looks = views.map(({ viewSeq }) => ({ volumeId: id, viewSeq }))
  const byNode = nodes.map((node) => contentsOnDisk(scene.cluster.node(node).config.disks[0]!.path, looks))
  for (const [at, { view }] of views.entries()) {
    const contents = byNode.map((ofViews) => ofViews[at]!)
    for (const [i, content] of contents.entries()) {
      const found = differences(contents[0]!, content)
      if (found.length === 0) continue
      const some = found.slice(0, 5).join('; ')
      note(report, `${view} on ${nodes[0]} and ${nodes[i]} differs in ${found.length} blocks: ${some}`)
    }
    tell(`${view}: ${contents[0]!.size} blocks, on ${nodes.join(', ')}`)
  }
}
