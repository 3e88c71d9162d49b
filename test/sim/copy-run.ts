/**
 * Random words of a machine to a copy's store, with kills, power cuts and lost indexes, against the model: nothing
 * stored is lost, nothing that is not applied is shown, dropped records stay away behind an epoch record, a scan finds
 * what views show, and a filled copy shows what its source did.
 */
import type { BlockVersion } from '../../engine/replication/record.ts'
import { Line, replicated, type ModelRecord, type ModelState, type ModelVersion } from './copy-model.ts'
import { CopyWorld } from './copy-world.ts'
import { checkChanges } from './change-check.ts'
import { mapEntries } from './fsck.ts'
import { Random } from './random.ts'
import { stamped, type WorldOptions } from './store-world.ts'
import { blocksOf, mixedPayload } from './stored-forms.ts'
import type { StoredCopy, StoreEvent } from '../../engine/replication/copy-store.ts'
import { SNAPSHOT_RUN_KIND } from '../../engine/replication/messages.ts'

export interface CopyRunOptions {
  seed: number
  operations: number
  world?: Omit<WorldOptions, 'seed'>
  fills?: boolean
  snapshots?: boolean
  /** So many at a time, and more of their changes; absent: two. */
  snapshotsMost?: number
  /** Each rollback keeps what it rolls away as a snapshot. */
  keeps?: boolean
  /** A snapshot of nothing stays, is rolled back to, and that is undone; then whole pages are trimmed. */
  undoes?: boolean
  /** Snapshots are read while everything goes on. */
  reads?: boolean
  /** All of a snapshot is compared with another one, and what the log of changes tells with the map. */
  changes?: boolean
  writeback?: boolean
  /** It begins with one slice and grows by others; it is also filled anew by who forgot trims. Not with `reads`. */
  grows?: boolean
}

const SLICE_BLOCKS = 262_144
const GIB = 2 ** 30
const SLICES_MOST = 3
const EMPTY = 'empty'

/** What was asked of a snapshot, and what it showed then: it shows that for ever, or it is gone. */
interface AskedSnapshot {
  token: number
  ids: string[]
  lba: number
  blockCount: number
  blocks: Map<number, ModelVersion>
  sinceBlocks: Map<number, ModelVersion> | undefined
}

class CopyRun {
  private readonly random: Random
  private readonly options: CopyRunOptions
  private world: CopyWorld
  private line = new Line()
  /** What may come back: dropped without an epoch record that is stored. */
  private formerLines: Line[] = []
  private applied = 0
  private stored = 0
  private mayLose = false
  private epoch = 0
  /** Records are given out from this epoch on: an older one may have been cut. */
  private cutEpoch = 1
  private stamp = 1
  private snapshotNumber = 1
  private promise = 0
  private promiseGiven = 0
  private trimsKept = 0
  /** A filling that is under way: what is still to be sent. */
  private filling: { target: number; versions: BlockVersion[]; line: Line; applied: number } | undefined
  private cache: { line: Line; seq: number; state: ModelState } | undefined
  private readonly lbas: number[]
  private readonly blockCount: number
  private asked: AskedSnapshot[] = []
  readonly counts = {
    crashes: 0, lost: 0, fills: 0, drops: 0, cleaned: 0, leaves: 0, snapshotReads: 0, snapshotMaps: 0, changeChecks: 0,
    gone: 0,
  }

  constructor(options: CopyRunOptions) {
    this.options = options
    this.random = new Random(`copy ${options.seed}`)
    const disks = options.world?.disks ?? 1
    const { random } = this
    const sizeBytes = options.grows === true ? GIB : disks > 1 ? 2 * GIB : 4 * 2 ** 20
    this.blockCount = sizeBytes / 4096
    this.world = new CopyWorld(
      { segments: 40, seed: options.seed, ...options.world },
      { sizeBytes, ...(options.writeback === true ? { durability: 'writeback' as const } : {}) },
    )
    const slices = options.grows === true ? SLICES_MOST : Math.min(2, disks)
    const sliceOf = (): number => (slices > 1 ? random.int(slices) : 0)
    this.lbas = Array.from({ length: 30 }, () => random.int(1000) + sliceOf() * SLICE_BLOCKS)
  }

  run(): void {
    this.open()
    for (let i = 0; i < this.options.operations; i++) this.operation()
    this.crash()
    while (this.filling !== undefined) this.fill()
    this.checkHead()
    this.checkChanges()
    for (const entry of this.world.world.events)
      if (entry.level === 'error') throw new Error(`${entry.message} ${JSON.stringify(entry.fields)}`)
  }

  private operation(): void {
    const { random } = this
    const dice = random.int(100)
    if (dice < 45) this.append()
    else if (dice < 48) this.append(this.changeEpoch())
    else if (dice < 52) this.drop()
    else if (dice < 70) this.apply()
    else if (dice < 74) this.keep()
    else if (dice < 79) this.checkHead()
    else if (dice < 82) this.checkScan()
    else if (dice < 88) this.settle()
    else if (dice < 90) this.world.copy.keepTrimsAbove((this.trimsKept = random.int(this.applied + 1)))
    else if (dice < 94) this.crash()
    else if (dice < 95 && this.options.writeback === true) this.world.copy.sync()
    else if (this.filling !== undefined) this.fill()
    else if (dice < 96 && this.options.fills === true) this.startFill()
    if (this.options.reads === true && random.chance(0.3)) this.askSnapshot()
    if (this.options.changes === true && random.chance(0.3)) this.askSnapshot(0)
    if (this.options.changes === true && random.chance(0.02)) this.checkChanges()
    for (let i = random.int(4); i > 0; i--) if (this.world.world.clock.pending > 0) this.world.world.clock.step()
    this.note()
    this.checkSnapshots()
  }

  /** What was reported so far. */
  private note(): void {
    this.stored = Math.min(this.world.storedSeq, this.line.tail)
    this.world.storedSeq = this.stored
    if (this.world.failedReason !== '') throw new Error(this.world.failedReason)
    this.checkLeaves()
    // Behind a stored epoch record nothing that was cut comes back.
    const last = this.line.epochs.at(-1)
    if (last !== undefined && last[0] >= this.cutEpoch && last[1] <= this.stored) this.formerLines = []
  }

  private state(): ModelState {
    const { line, applied } = this
    if (this.cache?.line !== line || this.cache.seq > applied)
      this.cache = { line, seq: applied, state: line.stateAt(applied) }
    while (this.cache.seq < applied) this.cache.state.apply(line.records[this.cache.seq++]!)
    return this.cache.state
  }

  /** Of a volume that had these records. */
  private slicesAt({ records }: Line, seq: number): number {
    const change = records.findLast((one) => one.seq <= seq && one.change?.operation === 'resize')?.change
    const sizeBytes = change?.operation === 'resize' ? change.sizeBytes : this.blockCount * 4096
    return Math.ceil(sizeBytes / GIB)
  }

  private lbasBelow(slices: number): number[] {
    return this.options.grows === true ? this.lbas.filter((lba) => lba < slices * SLICE_BLOCKS) : this.lbas
  }

  private randomRecord(line: Line): ModelRecord {
    const { random } = this
    const slices = this.slicesAt(line, line.tail)
    const lba = random.pick(this.lbasBelow(slices))
    const { epoch } = line
    if (this.options.grows === true && slices < SLICES_MOST && random.chance(0.04)) {
      const change = { operation: 'resize' as const, sizeBytes: (slices + 1) * GIB }
      return line.push({ epoch, kind: 'control', lba: 0, stamps: [], blockCount: 0, change })
    }
    const undoing = this.options.undoes === true ? this.undoing(line) : undefined
    if (undoing !== undefined) return line.push({ epoch, lba: 0, stamps: [], blockCount: 0, ...undoing })
    const dice = random.int(100)
    const { snapshots, snapshotsMost } = this.options
    if (snapshots === true && dice < (snapshotsMost === undefined ? 6 : 20)) {
      const state = line.stateAt(line.tail)
      const ids = [...state.snapshots.keys()].filter((id) => id !== EMPTY)
      const base = { epoch, kind: 'control' as const, lba: 0, stamps: [], blockCount: 0 }
      const isFew = snapshotsMost !== undefined && ids.length < snapshotsMost
      if (ids.length < 2 || (isFew && random.chance(0.7)))
        return line.push({ ...base, change: { operation: 'snapshot', id: `s${this.snapshotNumber++}` } })
      const id = random.pick(ids)
      if (random.chance(0.7)) return line.push({ ...base, change: { operation: 'snapshot-delete', id } })
      const kept = this.options.keeps === true ? { kept: { id: `s${this.snapshotNumber++}` } } : {}
      return line.push({ ...base, change: { operation: 'rollback', to: id, ...kept } })
    }
    if (dice < 22) {
      const kind = random.pick(['zero', 'trim'] as const)
      const most = SLICE_BLOCKS - (lba % SLICE_BLOCKS)
      const blockCount = Math.min(most, random.chance(0.2) ? 1 + random.int(900) : 1 + random.int(6))
      return line.push({ epoch, kind, lba, stamps: [], blockCount })
    }
    const blockCount = Math.min(1 + random.int(4), 256 - (lba % 256))
    return line.push({
      epoch,
      kind: 'write',
      lba,
      stamps: Array.from({ length: blockCount }, () => this.stamp++),
      blockCount,
    })
  }

  /** The next record of going back to nothing and undoing that; none: it is another one's turn. */
  private undoing(line: Line): Partial<ModelRecord> & Pick<ModelRecord, 'kind'> | undefined {
    const { random } = this
    if (line.records.every(({ kind }) => kind === 'control') && !line.stateAt(line.tail).snapshots.has(EMPTY))
      return { kind: 'control', change: { operation: 'snapshot', id: EMPTY } }
    const last = line.records.at(-1)?.change
    if (last?.operation === 'rollback' && last.to !== EMPTY && random.chance(0.6)) {
      const firstPage = random.int(4)
      return { kind: 'trim', lba: firstPage * 256, blockCount: 256 * (1 + random.int(4 - firstPage)) }
    }
    if (!random.chance(0.12)) return undefined
    const { snapshots } = line.stateAt(line.tail)
    if (!snapshots.has(EMPTY)) return undefined
    const back = line.records.findLast(({ change }) => change?.operation === 'rollback')?.change
    const kept = back?.operation === 'rollback' && back.to === EMPTY ? back.kept?.id : undefined
    if (kept !== undefined && snapshots.has(kept))
      return { kind: 'control', change: { operation: 'rollback', to: kept } }
    const id = `s${this.snapshotNumber++}`
    return { kind: 'control', change: { operation: 'rollback', to: EMPTY, kept: { id } } }
  }

  private append(record?: ModelRecord): void {
    if (record === undefined && this.line.tail - this.applied > 40) return
    // An id names one record for ever: what may have been cut is not numbered again under the same epoch.
    if (record === undefined && this.line.epoch < this.cutEpoch) return this.append(this.changeEpoch())
    this.world.copy.append(replicated(record ?? this.randomRecord(this.line)))
  }

  private changeEpoch(): ModelRecord {
    this.epoch += 1 + this.random.int(2)
    return this.line.newEpoch(this.epoch)
  }

  private drop(): void {
    const { random } = this
    if (this.line.tail === this.applied) return
    const seq = this.applied + random.int(this.line.tail - this.applied)
    this.formerLines.push(this.line)
    this.counts.drops++
    this.line = this.line.upTo(seq)
    this.cutEpoch = this.epoch + 1
    this.world.copy.dropAbove(seq)
    this.note()
    if (random.chance(0.3)) return this.crash()
    this.append(this.changeEpoch())
  }

  private apply(): void {
    this.note()
    if (this.stored <= this.applied) return
    this.applied += 1 + this.random.int(this.stored - this.applied)
    this.world.copy.apply(this.applied, { at: this.applied })
  }

  private keep(): void {
    const given = ++this.promiseGiven
    this.world.keep({ promise: { epoch: given, primary: 'n1' } })
    this.promise = given
  }

  private settle(): void {
    this.world.settle()
    this.note()
  }

  // --- checks

  private fail(why: string): never {
    throw new Error(`applied ${this.applied}, stored ${this.stored}, tail ${this.line.tail}: ${why}`)
  }

  private checkHead(): void {
    if (this.filling !== undefined) return
    const state = this.state()
    this.checkList(state)
    for (const lba of this.lbasBelow(this.slicesAt(this.line, this.applied))) {
      const count = Math.min(6, 256 - (lba % 256))
      this.world.read(lba, count).forEach((version, i) => {
        const expected = state.head.get(lba + i)
        const stamp = stampOfVersion(version)
        if (stamp !== (expected?.stamp ?? 0))
          this.fail(`block ${lba + i} is ${stamp} (${version.epoch}:${version.seq}), not ${JSON.stringify(expected)}`)
        if (expected?.kind === 'write' && (expected.seq !== version.seq || expected.epoch !== version.epoch))
          this.fail(`block ${lba + i} is of ${version.epoch}:${version.seq}, not ${JSON.stringify(expected)}`)
      })
    }
  }

  /** What the next body names lies on every disk, unless it is on its way. */
  private checkLeaves(): void {
    const { appends, targets } = this.world.copy
    if (appends['underWay'] > 0) return
    for (const { map } of targets) {
      const { leaves } = map.copy!
      if (leaves.leaves.length < leaves['cut'].length) this.fail('a leaf that is named is not there')
    }
  }

  private checkList({ snapshots }: ModelState): void {
    const { copy } = this.world
    if (copy.appliedSeq !== this.applied) return
    const found = copy.descriptor().snapshots.map(({ id, seq }) => `${id}@${seq}`).sort()
    const expected = [...snapshots].map(([id, { seq }]) => `${id}@${seq}`).sort()
    if (found.join(' ') !== expected.join(' ')) this.fail(`it has ${found.join(' ')}, not ${expected.join(' ')}`)
  }

  private checkScan(): void {
    if (this.filling !== undefined) return
    const above = this.random.chance(0.5) ? 0 : this.random.int(this.applied + 1)
    const { applied } = this
    const state = this.state()
    const found = new Map<string, ModelVersion>()
    for (const { lba, epoch, seq, kind, stamp } of this.world.scan({ above, upTo: applied })) {
      if (found.has(`${lba}/${seq}`)) this.fail(`a scan has ${lba}/${seq} twice`)
      found.set(`${lba}/${seq}`, { epoch, seq, kind, stamp })
      const record = this.line.records[seq - 1]
      const isOf = record?.epoch === epoch && record.kind === kind && lba >= record.lba
      if (!isOf || lba >= record.lba + record.blockCount || (record.stamps[lba - record.lba] ?? 0) !== stamp)
        this.fail(`a scan has ${lba}/${epoch}:${seq} ${kind} ${stamp}, which never was`)
    }
    const { forgottenSeq } = this.world.copy.stored()
    for (const [key, version] of state.versions()) {
      if (version.lba >= SLICE_BLOCKS || version.seq <= above || found.has(key)) continue
      // A trim of what had nothing leaves nothing.
      if (version.kind === 'write') this.fail(`a scan above ${above} lacks ${key} ${JSON.stringify(version)}`)
      else if (version.seq > forgottenSeq && this.hidData(version.lba, version.seq))
        this.fail(`a scan above ${above} lacks the trim ${key}, forgotten ${forgottenSeq}`)
    }
  }

  /** Whether a zero or trim stood over data. */
  private hidData(lba: number, seq: number): boolean {
    const before = this.line.records.slice(0, seq - 1)
    if (before.some(({ change }) => change?.operation === 'rollback')) return false
    return before.findLast((record) => lba >= record.lba && lba < record.lba + record.blockCount)?.kind === 'write'
  }

  private checkChanges(): void {
    if (this.filling !== undefined) return
    const { world } = this.world
    for (const stream of world.store!.streams()) {
      const entries = mapEntries(world, stream)
      if (entries === undefined) return this.fail('the index cannot be read')
      this.counts.changeChecks++
      const [problem] = checkChanges(world, stream, entries)
      if (problem !== undefined) this.fail(problem)
    }
  }

  // --- snapshots that are read while everything goes on

  /** @param from  all behind it is compared with another snapshot; absent: a part, or read */
  private askSnapshot(from?: number): void {
    if (this.filling !== undefined || this.startingFill !== undefined) return
    const { random } = this
    const { copy } = this.world
    const { snapshots } = this.state()
    if (snapshots.size === 0) return
    const id = random.pick([...snapshots.keys()])
    const sinceId =
      from !== undefined || random.chance(0.6) ? random.pick([...snapshots.keys()]) : undefined
    const opened = copy.snapshot(id)
    const since = sinceId === undefined ? undefined : copy.snapshot(sinceId)
    if (opened === undefined) return this.fail(`snapshot ${id} is not there`)
    const lba = from ?? random.pick(this.lbas)
    const blockCount = from === undefined ? 1 + random.int(random.chance(0.5) ? 6 : 600) : this.blockCount - from
    const { blocks } = snapshots.get(id)!
    const sinceBlocks = sinceId === undefined ? undefined : snapshots.get(sinceId)!.blocks
    const ids = sinceId === undefined ? [id] : [id, sinceId]
    const token = this.world.begin((token) => {
      if (from === undefined && random.chance(0.5)) copy.readSnapshot(token, opened, lba, blockCount)
      else copy.mapSnapshot(token, opened, { lba, blockCount, since })
    })
    this.asked.push({ token, ids, lba, blockCount, blocks, sinceBlocks })
  }

  private checkSnapshots(): void {
    this.asked = this.asked.filter((asked) => {
      const event = this.world.answerTo(asked.token)
      if (event === undefined) return true
      this.checkSnapshot(asked, event)
      return false
    })
  }

  private checkSnapshot({ ids, lba, blockCount, blocks, sinceBlocks }: AskedSnapshot, event: StoreEvent): void {
    if (event.type !== 'read-ended' && event.type !== 'mapped') return this.fail(`a snapshot is answered ${event.type}`)
    if (event.isGone === true) {
      const isThere = ids.every((id) => this.world.copy.snapshot(id) !== undefined)
      if (isThere) this.fail(`snapshot ${ids.join()} is called gone`)
      this.counts.gone++
      return
    }
    if (!event.ok) return this.fail('a snapshot cannot be read')
    if (event.type === 'mapped') return this.checkMap(event, { lba, blockCount, blocks, sinceBlocks })
    this.counts.snapshotReads++
    event.versions.forEach((version, i) => {
      const expected = blocks.get(lba + i)
      const stamp = stampOfVersion(version)
      const isRight = version.lba === lba + i && stamp === (expected?.stamp ?? 0)
      if (!isRight) this.fail(`snapshot ${ids[0]}, block ${lba + i} is ${stamp}, not ${JSON.stringify(expected)}`)
    })
    if (event.versions.length !== blockCount) this.fail(`a snapshot read has ${event.versions.length} blocks`)
  }

  private checkMap(
    { runs, endLba }: Extract<StoreEvent, { type: 'mapped' }>,
    { lba, blockCount, blocks, sinceBlocks }: Omit<AskedSnapshot, 'token' | 'ids'>,
  ): void {
    this.counts.snapshotMaps++
    const told = new Map<number, number>()
    for (let i = 0; i < runs.length; i += 3) {
      for (let k = 0; k < runs[i + 1]!; k++) told.set(runs[i]! + k, runs[i + 2]!)
    }
    if (endLba <= lba || endLba > lba + blockCount) this.fail(`a map of ${lba} + ${blockCount} ends at ${endLba}`)
    for (let at = lba; at < endLba; at++) {
      const shown = blocks.get(at)
      const since = sinceBlocks?.get(at)
      const kind = told.get(at)
      const isData = shown?.kind === 'write'
      const isWanted =
        sinceBlocks === undefined ? isData : shown?.seq !== since?.seq && (isData || since?.kind === 'write')
      // Zeroes over nothing leave nothing.
      const isAllowed = sinceBlocks === undefined && shown?.kind === 'zero'
      const { data, zero, hole } = SNAPSHOT_RUN_KIND
      const isOfZeroes = kind === hole || (kind === zero && shown?.kind === 'zero')
      const isRightKind = kind === undefined || (isData ? kind === data : isOfZeroes)
      if (isWanted !== (kind !== undefined) && !(isAllowed && kind === zero)) {
        this.fail(`a map says ${kind} of block ${at}: ${JSON.stringify(shown)}, before ${JSON.stringify(since)}`)
      }
      if (!isRightKind) this.fail(`a map says ${kind} of block ${at}: ${JSON.stringify(shown)}`)
    }
    if ([...told.keys()].some((at) => at < lba || at >= endLba)) this.fail('a map tells of what was not asked for')
  }

  // --- crashes

  private crash(): void {
    const { random } = this
    this.checkSnapshots()
    this.asked = []
    this.note()
    const disk = random.pick([
      'kill' as const,
      { kind: 'synced' as const },
      { kind: 'all' as const },
      { kind: 'subset' as const, seed: random.u32() },
    ])
    const isLost = random.chance(0.25)
    const index = isLost
      ? ('lost' as const)
      : random.pick([
          { kind: 'all' as const },
          { kind: 'synced' as const },
          { kind: 'subset' as const, seed: random.u32() },
        ])
    this.countCleaned()
    // A power cut takes what was not made durable, also what was applied.
    if (this.options.writeback === true && disk !== 'kill') {
      this.stored = Math.min(this.stored, this.world.durableSeq)
      this.mayLose = true
    }
    this.counts.crashes++
    if (isLost) this.counts.lost++
    this.world = this.world.crash(disk, index)
    this.open()
  }

  private countCleaned(): void {
    const { store } = this.world.world
    for (const { maintenance } of store?.['parts'].disks.entries ?? [])
      this.counts.cleaned += maintenance.segmentsCleaned
    for (const { map } of this.world.copy.targets) this.counts.leaves += map.copy!.leaves.leaves.length
  }

  private open(): void {
    const found = this.world.open()
    if (found.windows !== undefined && (found.windows as { at: number }).at !== found.appliedSeq)
      this.fail(`windows ${JSON.stringify(found.windows)} at ${found.appliedSeq}`)
    const { epoch } = found.facts.promise
    if (epoch < this.promise || epoch > this.promiseGiven) this.fail(`promise ${epoch}, not ${this.promise}`)
    this.promise = epoch
    const isFilling = found.facts.consistency.state === 'filling'
    if (this.startingFill !== undefined) {
      if (isFilling) this.fillBegun()
      this.startingFill = undefined
    }
    if (isFilling !== (this.filling !== undefined)) {
      // The word that it is consistent may have come through, unanswered.
      if (!isFilling && this.filling!.versions.length === 0) this.filling = undefined
      else this.fail(`filling is ${String(isFilling)}`)
    }
    this.adopt(found)
    this.world.copy.keepTrimsAbove(this.trimsKept)
    this.world.copy.apply(this.applied, { at: this.applied })
    if (this.random.chance(0.5)) this.checkHead()
  }

  /** Find which history came back. */
  private adopt(found: StoredCopy): void {
    const from = found.appliedSeq
    if (from > this.applied) this.fail(`applied ${from} was never asked for`)
    const told = found.unapplied.map(({ epoch, seq }) => `${epoch}:${seq}`).join(' ')
    if (found.unapplied.length !== found.tail - from) this.fail(`tail ${found.tail}, unapplied ${told} above ${from}`)
    const candidates = [this.line, ...this.formerLines]
    const least = this.mayLose ? Math.min(this.applied, this.stored) : this.applied
    for (const line of candidates) {
      if (found.tail > line.tail || found.tail < (line === this.line ? this.stored : least)) continue
      const expected = line.records.slice(from, found.tail)
      if (told !== expected.map(({ epoch, seq }) => `${epoch}:${seq}`).join(' ')) continue
      expected.forEach((record, i) => {
        if (JSON.stringify(plain(replicated(record))) !== JSON.stringify(plain(found.unapplied[i]!)))
          this.fail(`record ${record.epoch}:${record.seq} came back different`)
      })
      this.line = line.upTo(found.tail)
      if (JSON.stringify(found.epochs) !== JSON.stringify(this.line.epochs))
        this.fail(`epochs ${JSON.stringify(found.epochs)}, not ${JSON.stringify(this.line.epochs)}`)
      // What came back may be cut again; what was not there may still lie in the log, void or to be sent again.
      this.stored = found.tail
      this.applied = Math.min(this.applied, found.tail)
      this.mayLose = false
      this.formerLines = candidates
      this.cutEpoch = this.epoch + 1
      return
    }
    this.fail(`a restart has ${told} above ${from}, at least ${this.stored} of ${this.line.tail} was stored`)
  }

  // --- filling

  private startingFill: { line: Line; target: number; versions: BlockVersion[] } | undefined

  private startFill(): void {
    const { random } = this
    this.settle()
    this.counts.fills++
    const isDelta = random.chance(0.5)
    const fork = isDelta ? this.applied + random.int(this.line.tail - this.applied + 1) : 0
    const source = isDelta ? this.line.upTo(fork) : new Line()
    this.epoch++
    source.newEpoch(this.epoch)
    let hasRollback = false
    for (let i = 5 + random.int(40); i > 0; i--) {
      const record = this.randomRecord(source)
      if (record.change?.operation === 'rollback') hasRollback = true
    }
    const target = source.tail
    const state = source.stateAt(target)
    const grows = this.options.grows === true
    const isAnew = grows && random.chance(0.5)
    const base = isDelta && !hasRollback && !isAnew ? fork : 0
    const slices = grows ? SLICES_MOST : this.slicesAt(source, target)
    const wipe = base > 0 ? [] : Array.from({ length: slices }, (_, slice) => slice)
    const known = [...state.versions().values()].filter(({ seq }) => seq > base)
    const isOver = (lba: number, seq: number): boolean =>
      known.some((one) => one.kind === 'write' && one.lba === lba && one.seq < seq)
    // Who forgot a trim has a hole there.
    const hasForgotten = wipe.length > 0 && isAnew
    const sent = known.filter(({ kind, lba, seq }) => !hasForgotten || kind === 'write' || isOver(lba, seq))
    const versions = sent.map(({ lba, epoch, seq, kind, stamp }): BlockVersion => {
      const payload = kind === 'write' ? mixedPayload(stamped(stamp), [stamp]) : undefined
      return { lba, epoch, seq, kind, payload }
    })
    random.shuffle(versions)
    const former = this.world.copy.descriptor()
    const sizeBytes = grows ? this.slicesAt(source, target) * GIB : former.spec.sizeBytes
    const descriptor = {
      ...former,
      spec: { ...former.spec, sizeBytes },
      forgottenSeq: hasForgotten ? target : former.forgottenSeq,
      epochs: source.epochs,
      snapshots: [...state.snapshots].map(([id, { seq }]) => ({ id, seq, pinnedBy: null })),
      rollbacks: source.records.flatMap(({ seq, change }) =>
        change?.operation === 'rollback' ? [[snapshotSeq(source, change.to), seq] as [number, number]] : [],
      ),
    }
    this.startingFill = { line: source, target, versions }
    const start = { fork: base === 0 && !isDelta ? 0 : fork, target, wipe, descriptor, windows: { at: target } }
    if (random.chance(0.3)) {
      // Cut while it begins.
      const slices = wipe.map((slice): [number, number] => [slice, 0])
      this.world.copy.startFill(0, {
        ...start,
        facts: { consistency: { state: 'filling', target, slices } },
      })
      const saysMore = this.options.snapshotsMost !== undefined
      for (let i = random.int(60); i > 0; i--) {
        if (saysMore && random.chance(0.1)) this.stepAndPromise(1)
        else if (this.world.world.clock.pending > 0) this.world.world.clock.step()
      }
      return this.crashStarting()
    }
    this.asked = []
    const isSaid = this.options.snapshotsMost !== undefined && random.chance(0.3)
    this.world.startFill(start, isSaid ? () => this.stepAndPromise(random.int(20)) : undefined)
    this.fillBegun()
    this.startingFill = undefined
    this.world.storedSeq = target
  }

  /** What is said while a filling begins is said of the copy as it was. */
  private stepAndPromise(steps: number): void {
    const { clock } = this.world.world
    for (let i = steps; i > 0; i--) if (clock.pending > 0) clock.step()
    this.world.copy.keep(0, { promise: { epoch: ++this.promiseGiven, primary: 'n1' } })
  }

  private crashStarting(): void {
    const { random } = this
    this.asked = []
    this.counts.crashes++
    const stored = this.stored
    this.world = this.world.crash(
      random.pick(['kill' as const, { kind: 'synced' as const }, { kind: 'subset' as const, seed: random.u32() }]),
      random.chance(0.3) ? 'lost' : { kind: 'synced' },
    )
    this.stored = stored
    // What was above the fork may be gone already from the index, but not from the log before the record of filling.
    this.stored = this.applied
    this.open()
  }

  private fillBegun(): void {
    const { line, target, versions } = this.startingFill!
    this.line = line
    this.formerLines = []
    this.applied = target
    this.stored = target
    this.filling = { target, versions, line, applied: target }
  }

  private fill(): void {
    const { random } = this
    const { versions } = this.filling!
    if (versions.length === 0) {
      this.world.keep({ consistency: { state: 'consistent' } })
      this.filling = undefined
      this.checkHead()
      return
    }
    const part = versions.slice(0, 1 + random.int(20))
    if (random.chance(0.1)) {
      this.world.copy.fill(0, part)
      return this.crash()
    }
    this.world.fill(part)
    // Now and then one is sent again.
    this.filling!.versions = versions.slice(random.chance(0.2) ? part.length - 1 : part.length)
  }
}

function snapshotSeq({ records }: Line, id: string): number {
  for (const { change, seq } of records) {
    if (change?.operation === 'snapshot' && change.id === id) return seq
    if (change?.operation === 'rollback' && change.kept?.id === id) return seq - 1
  }
  throw new Error(`no record makes snapshot ${id}`)
}

const stampOfVersion = (version: BlockVersion): number => {
  if (version.payload === undefined) return 0
  return wordOf(blocksOf(version.payload)[0]!)
}

/** A record without its bytes. */
const plain = (record: ReturnType<typeof replicated>): unknown => {
  if (record.kind === 'control') return [record.epoch, record.seq, record.kind, record.change]
  const { epoch, seq, kind, lba, blockCount } = record
  const stamps =
    kind !== 'write'
      ? []
      : Array.from({ length: blockCount }, (_, i) => {
          return wordOf(blocksOf(record.payload)[i]!)
        })
  return [epoch, seq, kind, lba, blockCount, stamps]
}

/** A sentence when the run failed. */
export function runCopy(options: CopyRunOptions): { failure: string | undefined; counts: CopyRun['counts'] } {
  const run = new CopyRun(options)
  try {
    run.run()
    return { failure: undefined, counts: run.counts }
  } catch (error) {
    const { stack } = error as Error
    return { failure: `seed ${options.seed}: ${stack ?? String(error)}`, counts: run.counts }
  }
}

const wordOf = (block: Uint8Array): number => new DataView(block.buffer, block.byteOffset).getUint32(0, true)
