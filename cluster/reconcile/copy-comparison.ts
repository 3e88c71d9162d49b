/**
 * Whether all copies of a volume show the same (engine/replication/SCRUB.md section 4), asked by the node of its
 * primary each time its copy was scrubbed: slice by slice of what its head and snapshots show, its own digests against
 * those of each member of the set.
 *
 *   look -> nothing differs: next slice
 *        -> something does: look again when both have applied what either had -> it differs still: by which versions
 *
 * Nothing is changed: which copy is right cannot be known from here. It is counted, logged and shown.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { HoldfastError } from '../../engine/errors.ts'
import type { LogPort } from '../../engine/ports.ts'
import {
  compareDigests, confirmed, differencesOf, type ShownVersion, type SliceDigest,
} from '../../engine/volume/digest-comparison.ts'
import type { ClusterStore } from '../store/cluster-store.ts'
import { configKey, decodeConfig } from '../store/volume-configs.ts'
import { decodeVolume, volumeKey } from '../store/volume-records.ts'

/** Of one node, here or elsewhere; undefined: it cannot say now. Rejects with the HoldfastError of who was asked. */
export interface DigestCalls {
  digest(volumeId: string, slice: number): Promise<SliceDigest | undefined>
  shown(volumeId: string, slice: number, page: number): Promise<ShownVersion[] | undefined>
}

export interface Compared {
  /** Wall clock, milliseconds since 1970, when it ended; 0: never. */
  atMs: number
  /** Versions that one copy shows and another does not, or with other checksums. */
  differences: number
}

export interface CopyComparisonOptions {
  node: string
  store: ClusterStore
  /** Undefined: it is not there. */
  callsOf(node: string): DigestCalls | undefined
  log: LogPort
  /** To be shorter in tests. */
  lookAgainMs?: number
}

const LOOK_AGAIN_MS = 1000
const LOOKS_MOST = 20
/** Each is named in the log; more are counted. */
const NAMED_MOST = 20

export class CopyComparison {
  private readonly options: CopyComparisonOptions
  private readonly done = new Map<string, Compared>()
  /** By volume: which scrub the last comparison followed. */
  private readonly followed = new Map<string, number>()
  private readonly queue = new Set<string>()
  private isRunning = false
  private isOver = false

  constructor(options: CopyComparisonOptions) {
    this.options = options
  }

  of(volumeId: string): Compared {
    return this.done.get(volumeId) ?? { atMs: 0, differences: 0 }
  }

  /** The copy here leads, and was scrubbed then (0: never). Compares once for each scrub. */
  scrubbed(volumeId: string, scrubbedAtMs: number): void {
    const before = this.followed.get(volumeId)
    this.followed.set(volumeId, scrubbedAtMs)
    // What was scrubbed before this process began was compared then.
    if (before === undefined || before === scrubbedAtMs || scrubbedAtMs === 0) return
    this.queue.add(volumeId)
    if (!this.isRunning) void this.run()
  }

  close(): void {
    this.isOver = true
  }

  /** Of all members of the set; undefined: it does not lead any more, or one of them could not be asked. */
  async compare(volumeId: string): Promise<Compared | undefined> {
    const { node, store, log } = this.options
    const [read, found] = await Promise.all([store.get(configKey(volumeId)), store.get(volumeKey(volumeId))])
    const config = read.ok && read.value !== undefined ? decodeConfig(volumeId, read.value.value) : undefined
    const isThere = found.ok && found.value !== undefined && decodeVolume(volumeId, found.value.value) !== undefined
    if (config?.primary !== node || !isThere) return undefined
    let differences = 0
    for (const member of config.inSync.filter((name) => name !== node)) {
      // A snapshot may be larger than the volume is now, which the copy knows that leads.
      let slices = 1
      for (let slice = 0; slice < slices; slice++) {
        if (this.isOver) return undefined
        const found = await this.sliceOf(volumeId, slice, member)
        if (found === undefined) return undefined
        const { words } = found
        slices = found.slicesShown
        for (const difference of words.slice(0, Math.max(0, NAMED_MOST - differences)))
          log.event('error', 'two copies of a volume do not show the same', { volumeId, difference })
        differences += words.length
      }
    }
    return { atMs: Date.now(), differences }
  }

  private async run(): Promise<void> {
    this.isRunning = true
    for (const volumeId of this.queue) {
      this.queue.delete(volumeId)
      if (this.isOver) break
      try {
        const compared = await this.compare(volumeId)
        if (compared !== undefined) this.done.set(volumeId, compared)
      } catch (error) {
        // Who does not answer is compared with after the next scrub.
        if (!(error instanceof HoldfastError)) throw error
      }
    }
    this.isRunning = false
  }

  /** What differs; undefined: it cannot be told. */
  private async sliceOf(
    volumeId: string,
    slice: number,
    member: string,
  ): Promise<{ words: string[]; slicesShown: number } | undefined> {
    const { node, callsOf, lookAgainMs = LOOK_AGAIN_MS } = this.options
    const [here, there] = [callsOf(node), callsOf(member)]
    if (here === undefined || there === undefined) return undefined
    const both = () => Promise.all([here.digest(volumeId, slice), there.digest(volumeId, slice)])
    let look: ReturnType<typeof compareDigests>
    for (let looks = 0; looks < LOOKS_MOST && !this.isOver; looks++) {
      if (looks > 0) await sleep(lookAgainMs)
      const [one, other] = await both()
      if (one === undefined || other === undefined) continue
      if (look === undefined) {
        look = compareDigests(one, other)
        if (look?.differing.size === 0) return { words: [], slicesShown: one.slicesShown }
        continue
      }
      const pages = confirmed(look, one, other)
      if (pages === undefined) continue
      const words = await this.named(volumeId, slice, pages, [node, here], [member, there])
      return { words, slicesShown: one.slicesShown }
    }
    return undefined
  }

  private async named(
    volumeId: string,
    slice: number,
    pages: readonly number[],
    [node, here]: [string, DigestCalls],
    [member, there]: [string, DigestCalls],
  ): Promise<string[]> {
    const words: string[] = []
    for (const page of pages) {
      const [one, other] = await Promise.all([here, there].map((calls) => calls.shown(volumeId, slice, page)))
      words.push(...differencesOf({ node, versions: one ?? [] }, { node: member, versions: other ?? [] }))
    }
    return words
  }
}
