/**
 * What one volume must hold, told from outside and from inside at once:
 *
 *   requests  what a client asked and which of it was answered
 *   records   what the volume appended, in order of seq (seen at the stream's door, before anything can be lost)
 *
 * The store is right when the two agree and a crash leaves a prefix:
 * - a record changes a sector only to what a request under way wants there; every other sector of its block stays (so a
 *   read-modify-write that loses a neighbour's sector is seen at once, not when somebody happens to read it);
 * - an answered request has its records, and they count from then on (`ackedSeq`), durably (`durableSeq`) when the
 *   volume is durable or a flush that began later was answered;
 * - a read shows, sector by sector, a version between the answered ones when it began and the last one when it ended;
 * - after a crash the whole volume equals the state behind some seq in [durableSeq, lastSeq] (L1).
 *
 * Data is stamped: every 512 B sector is filled with one number that no other write uses; 0 is zeroes.
 */
import { assert } from '../../../engine/assert.ts'
import { RECORD_KIND, type RecordHeader } from '../../../engine/log/record.ts'
import { BLOCK_BYTES } from '../../../engine/units.ts'

export const SECTOR_BYTES = 512
export const BLOCK_SECTORS = BLOCK_BYTES / SECTOR_BYTES
const SECTOR_WORDS = SECTOR_BYTES / 4
const ZEROES = new Uint32Array(BLOCK_SECTORS)

/** What the sectors of a block hold; -1 (as u32) stands for bytes no write made. */
export type Stamps = Uint32Array

interface Version {
  seq: number
  /** Its disk failed: it may be there or not. */
  isLost?: boolean
  stamps: Stamps
}

export interface ModelRequest {
  firstSector: number
  endSector: number
  /** Sector i of a write holds `stamp + i - firstSector`; 0: a zero or trim. */
  stamp: number
  /** Records that brought parts of it, in order of seq. */
  credits: Array<[firstSector: number, endSector: number, seq: number]>
}

export const NO_STAMP = 0xffffffff

/** The stamps of a block, NO_STAMP where a sector is not of one piece. */
export function stampsOf(bytes: Uint8Array, at = 0): Stamps {
  const stamps = new Uint32Array(BLOCK_SECTORS)
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, BLOCK_BYTES / 4)
  for (let sector = 0; sector < BLOCK_SECTORS; sector++) {
    const first = sector * SECTOR_WORDS
    const stamp = words[first]!
    stamps[sector] = stamp
    for (let i = first + 1; i < first + SECTOR_WORDS; i++) if (words[i] !== stamp) stamps[sector] = NO_STAMP
  }
  return stamps
}

export function stampedBytes(firstStamp: number, sectors: number): Uint8Array {
  const words = new Uint32Array(sectors * SECTOR_WORDS)
  for (let sector = 0; sector < sectors; sector++)
    words.fill(firstStamp + sector, sector * SECTOR_WORDS, (sector + 1) * SECTOR_WORDS)
  return new Uint8Array(words.buffer)
}

const same = (a: Stamps, b: Stamps): boolean => {
  for (let i = 0; i < BLOCK_SECTORS; i++) if (a[i] !== b[i]) return false
  return true
}

const show = (stamps: Stamps): string => [...stamps].map((stamp) => (stamp === NO_STAMP ? 'x' : stamp)).join(' ')

export class ModelError extends Error {
  override name = 'ModelError'
}

export class VolumeModel {
  readonly label: string
  /** Every version since the state that is certain, by block; a block that is absent was never touched: zeroes. */
  private blocks = new Map<number, Version[]>()
  /** Last record seen. */
  lastSeq: number
  /** Everything up to here was answered, respectively must survive a crash. */
  ackedSeq: number
  durableSeq: number
  private readonly underWay = new Set<ModelRequest>()
  private readonly reading = new Set<{ ackedSeq: number }>()

  constructor(label: string, seq: number, content: ReadonlyMap<number, Stamps> = new Map()) {
    this.label = label
    this.lastSeq = this.ackedSeq = this.durableSeq = seq
    for (const [lba, stamps] of content) this.blocks.set(lba, [{ seq: 0, stamps }])
  }

  // --- requests

  begin(firstSector: number, sectors: number, stamp: number): ModelRequest {
    const request = { firstSector, endSector: firstSector + sectors, stamp, credits: [] }
    this.underWay.add(request)
    return request
  }

  /** The request was answered without an error. */
  acked(request: ModelRequest, durable: boolean): void {
    this.underWay.delete(request)
    let left: Array<[number, number]> = [[request.firstSector, request.endSector]]
    let seq = 0
    for (const [first, end, creditSeq] of request.credits) {
      const rest: Array<[number, number]> = []
      for (const [a, b] of left) {
        if (a < first) rest.push([a, Math.min(b, first)])
        if (b > end) rest.push([Math.max(a, end), b])
      }
      left = rest.filter(([a, b]) => a < b)
      seq = creditSeq
      if (left.length === 0) break
    }
    if (left.length > 0)
      this.fail(
        `a request for sectors ${request.firstSector}..${request.endSector - 1} was answered without ` +
          `a record for ${left[0]}`,
      )
    this.ackedSeq = Math.max(this.ackedSeq, seq)
    if (durable) this.durableSeq = Math.max(this.durableSeq, seq)
  }

  failed(request: ModelRequest): void {
    this.underWay.delete(request)
  }

  /** What a flush that begins now has to make durable. */
  flushPoint(): number {
    return this.ackedSeq
  }

  flushed(point: number): void {
    this.durableSeq = Math.max(this.durableSeq, point)
  }

  get inFlight(): number {
    return this.underWay.size
  }

  // --- records

  /** A record of this volume goes into the log. Copies of the cleaner (MOVED) are not for here. */
  appended(record: RecordHeader, payload: readonly Uint8Array[]): void {
    if (record.seq !== this.lastSeq + 1) this.fail(`seq ${record.seq} follows ${this.lastSeq}`)
    this.lastSeq = record.seq
    if (record.kind === RECORD_KIND.write) {
      assert(
        payload.length === 1 && payload[0]!.length === record.blockCount * BLOCK_BYTES,
        'a write carries its blocks',
      )
      for (let i = 0; i < record.blockCount; i++)
        this.wrote(record.lba + i, record.seq, stampsOf(payload[0]!, i * BLOCK_BYTES))
    } else this.zeroed(record.lba, record.lba + record.blockCount, record.seq)
  }

  /** A control record; on several disks it comes once each. */
  control(seq: number): void {
    if (seq !== this.lastSeq && seq !== this.lastSeq + 1) this.fail(`control seq ${seq} follows ${this.lastSeq}`)
    this.lastSeq = seq
  }

  /** From `seq` on the volume holds this (a rollback). */
  replaced(seq: number, content: ReadonlyMap<number, Stamps>): void {
    for (const lba of new Set([...this.blocks.keys(), ...content.keys()]))
      this.push(lba, seq, content.get(lba) ?? ZEROES)
  }

  /** The disk of a record failed before it was durable. */
  lost(seq: number): void {
    for (const versions of this.blocks.values())
      for (const version of versions) if (version.seq === seq) version.isLost = true
  }

  private wrote(lba: number, seq: number, stamps: Stamps): void {
    const before = this.newest(lba)
    for (let sector = 0; sector < BLOCK_SECTORS; sector++) {
      const at = lba * BLOCK_SECTORS + sector
      const stamp = stamps[sector]!
      let credited = false
      for (const request of this.underWay) {
        if (at < request.firstSector || at >= request.endSector) continue
        if (stamp !== (request.stamp === 0 ? 0 : request.stamp + at - request.firstSector)) continue
        // Once it was overwritten it must not come back: that is what a read-modify-write of old content does.
        if (
          stamp !== 0 &&
          stamp !== before[sector] &&
          request.credits.some(([first, end]) => at >= first && at < end)
        )
          continue
        const last = request.credits.at(-1)
        if (last !== undefined && last[2] === seq && last[1] === at) last[1]++
        else request.credits.push([at, at + 1, seq])
        credited = true
      }
      if (!credited && stamp !== before[sector])
        this.fail(
          `record ${seq} puts ${stamp} into sector ${sector} of block ${lba}, where ${before[sector]} ` +
            `stood and no request wants that`,
        )
    }
    this.push(lba, seq, stamps)
  }

  private zeroed(first: number, end: number, seq: number): void {
    let wanted = false
    for (const request of this.underWay)
      if (
        request.stamp === 0 &&
        request.firstSector < end * BLOCK_SECTORS &&
        request.endSector > first * BLOCK_SECTORS
      ) {
        request.credits.push([first * BLOCK_SECTORS, end * BLOCK_SECTORS, seq])
        wanted ||= request.firstSector <= first * BLOCK_SECTORS && request.endSector >= end * BLOCK_SECTORS
      }
    if (!wanted) this.fail(`record ${seq} zeroes blocks ${first}..${end - 1}, which no request wants`)
    for (const lba of this.blocks.keys()) if (lba >= first && lba < end) this.push(lba, seq, ZEROES)
  }

  private push(lba: number, seq: number, stamps: Stamps): void {
    let versions = this.blocks.get(lba)
    if (versions === undefined) this.blocks.set(lba, (versions = [{ seq: 0, stamps: ZEROES }]))
    const last = versions.at(-1)!
    if (last.seq === seq) last.stamps = stamps
    else versions.push({ seq, stamps })
    if (versions.length < 32) return
    let oldest = Math.min(this.durableSeq, this.ackedSeq)
    for (const read of this.reading) oldest = Math.min(oldest, read.ackedSeq)
    let drop = 0
    while (drop + 1 < versions.length && versions[drop + 1]!.seq <= oldest) drop++
    if (drop > 0) versions.splice(0, drop)
  }

  private newest(lba: number): Stamps {
    return this.blocks.get(lba)?.at(-1)?.stamps ?? ZEROES
  }

  // --- reads

  beginRead(): { ackedSeq: number } {
    const read = { ackedSeq: this.ackedSeq }
    this.reading.add(read)
    return read
  }

  /** A read of whole sectors was answered. */
  endRead(read: { ackedSeq: number }, firstSector: number, bytes: Uint8Array): void {
    this.reading.delete(read)
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    for (let i = 0; i < bytes.length / SECTOR_BYTES; i++) {
      const stamp = words[i * SECTOR_WORDS]!
      for (let w = 1; w < SECTOR_WORDS; w++)
        if (words[i * SECTOR_WORDS + w] !== stamp) this.fail(`sector ${firstSector + i} reads as no write left it`)
      if (!this.allows(read.ackedSeq, firstSector + i, (allowed) => allowed === stamp))
        this.fail(
          `sector ${firstSector + i} (block ${Math.floor((firstSector + i) / BLOCK_SECTORS)}) reads ` +
            `as ${stamp}; since seq ${read.ackedSeq} it may be ` +
            `${this.possible(read.ackedSeq, firstSector + i)}`,
        )
    }
  }

  dropRead(read: { ackedSeq: number }): void {
    this.reading.delete(read)
  }

  /** Block status was answered: what is called zero has to be, what is called a hole too. */
  endStatus(
    read: { ackedSeq: number },
    offsetBytes: number,
    extents: ReadonlyArray<{ lengthBytes: number; hole: boolean; zero: boolean }>,
  ): void {
    this.reading.delete(read)
    let at = offsetBytes
    for (const { lengthBytes, hole, zero } of extents) {
      if (hole && !zero) this.fail('a hole that is not zero')
      if (zero)
        for (const lba of this.touched())
          if (lba * BLOCK_BYTES < at + lengthBytes && (lba + 1) * BLOCK_BYTES > at)
            for (let s = 0; s < BLOCK_SECTORS; s++) {
              const sector = lba * BLOCK_SECTORS + s
              const inside = sector * SECTOR_BYTES >= at && sector * SECTOR_BYTES < at + lengthBytes
              if (inside && !this.allows(read.ackedSeq, sector, (allowed) => allowed === 0))
                this.fail(`block ${lba} is called zero, it holds ${this.possible(read.ackedSeq, sector)}`)
            }
      at += lengthBytes
    }
  }

  private allows(fromSeq: number, sector: number, wanted: (stamp: number) => boolean): boolean {
    const versions = this.blocks.get(Math.floor(sector / BLOCK_SECTORS))
    if (versions === undefined) return wanted(0)
    for (let i = versions.length - 1; i >= 0; i--) {
      if (wanted(versions[i]!.stamps[sector % BLOCK_SECTORS]!)) return true
      if (versions[i]!.seq <= fromSeq) return false
    }
    return false
  }

  private possible(fromSeq: number, sector: number): string {
    const found: string[] = []
    this.allows(fromSeq, sector, (stamp) => {
      found.push(String(stamp))
      return false
    })
    return found.join(' or ')
  }

  // --- the whole state

  /** Blocks that may hold something, or once did. */
  touched(): number[] {
    return [...this.blocks.keys()]
  }

  /** The newest state, as a full copy. */
  content(): Map<number, Stamps> {
    return new Map([...this.blocks].map(([lba, versions]) => [lba, versions.at(-1)!.stamps]))
  }

  /**
   * After a crash: the seqs behind which the volume had exactly this content, at or above `durableSeq`. Fails when
   * there is none. `observed` has every touched block.
   */
  recovered(observed: ReadonlyMap<number, Stamps>): Array<[from: number, to: number]> {
    let candidates: Array<[number, number]> = [[this.durableSeq, this.lastSeq]]
    for (const [lba, stamps] of observed) {
      const versions = this.blocks.get(lba) ?? [{ seq: 0, stamps: ZEROES }]
      const next: Array<[number, number]> = []
      versions.forEach((version, i) => {
        if (!same(version.stamps, stamps)) return
        const until = (versions[i + 1]?.seq ?? Infinity) - 1
        for (const [from, to] of candidates)
          if (version.seq <= to && until >= from) next.push([Math.max(from, version.seq), Math.min(to, until)])
      })
      if (next.length === 0)
        this.fail(
          `after the crash block ${lba} holds [${show(stamps)}]; no state behind seq ` +
            `${candidates.map((c) => c.join('..')).join(', ')} has that with the blocks before: ` +
            versions
              .slice(-8)
              .map((v) => `${v.seq}: [${show(v.stamps)}]`)
              .join(', '),
        )
      candidates = next
    }
    return candidates
  }

  /**
   * Per block only: at least the version that was answered last. For disks that failed, where a prefix says too much.
   */
  recoveredLoosely(observed: ReadonlyMap<number, Stamps>): void {
    for (const [lba, stamps] of observed) {
      const versions = this.blocks.get(lba) ?? [{ seq: 0, stamps: ZEROES }]
      const least = versions.findLastIndex((version) => version.seq <= this.durableSeq && version.isLost !== true)
      if (!versions.slice(Math.max(0, least)).some((version) => same(version.stamps, stamps)))
        this.fail(
          `block ${lba} holds [${show(stamps)}], answered was ${versions
            .slice(least)
            .map((v) => `${v.seq}: [${show(v.stamps)}]`)
            .join(', ')}`,
        )
    }
  }

  fail(what: string): never {
    throw new ModelError(`volume ${this.label}: ${what}`)
  }
}
