/**
 * Random lives of volumes whose copies share blocks in one store, against full copies of what each has to show: clones
 * of snapshots and of clones, overwritten, trimmed, rolled back, filled from nothing, hydrated and removed in any
 * order, with kills, power cuts and lost indexes, also in the middle of a clone, a removal and a filling.
 *
 * What is looked at right behind a crash is what the store opened with: nobody tells a copy to apply anything before.
 */
import type { StoredCopy, StoreEvent } from '../../engine/replication/copy-store.ts'
import { SNAPSHOT_RUN_KIND, type SnapshotPlace } from '../../engine/replication/messages.ts'
import { epochAt } from '../../engine/replication/record-id.ts'
import type { BlockVersion, ControlChange } from '../../engine/replication/record.ts'
import type { LocalCopyStore, OpenCopy } from '../../engine/volume/copy-store.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import { usageOf } from '../../engine/volume/usage.ts'
import { Life } from './clone-life.ts'
import { replicated, type ModelRecord, type ModelVersion } from './copy-model.ts'
import { Random } from './random.ts'
import { stamped, stampOf, StoreWorld, type WorldOptions } from './store-world.ts'
import { blocksOf, mixedPayload } from './stored-forms.ts'

export interface CloneRunOptions {
  seed: number
  operations: number
  world?: Omit<WorldOptions, 'seed'>
  writeback?: boolean
}

const SLICE_BLOCKS = 262_144
const VOLUMES_MOST = 6

class CloneRun {
  private readonly options: CloneRunOptions
  private readonly random: Random
  private world: StoreWorld
  private readonly lives = new Map<string, Life>()
  private readonly lbas: number[]
  private readonly sliceCount: number
  private stamp = 1
  private number = 1
  readonly counts = { clones: 0, depth: 0, refused: 0, removed: 0, filled: 0, crashes: 0, lost: 0, cut: 0, looks: 0 }

  constructor(options: CloneRunOptions) {
    this.options = options
    this.random = new Random(`clones ${options.seed}`)
    const { random } = this
    const disks = options.world?.disks ?? 1
    this.sliceCount = disks > 1 ? 3 : 1
    this.world = new StoreWorld({ segments: 40, seed: options.seed, ...options.world })
    this.lbas = Array.from({ length: 24 }, () => random.int(700) + random.int(this.sliceCount) * SLICE_BLOCKS)
  }

  run(): void {
    this.world.open()
    this.make()
    for (let i = 0; i < this.options.operations; i++) this.operation()
    this.settleAll()
    this.lookAtAll()
    this.randomCrash()
    this.removeAll()
    const broken = this.world.events.find(({ level }) => level === 'error')
    if (broken !== undefined) this.fail(`${broken.message} ${JSON.stringify(broken.fields)}`)
  }

  private operation(): void {
    const { random } = this
    if (this.lives.size === 0) return this.make()
    const life = random.pick([...this.lives.values()])
    // Half of the worlds are busy: there hydration takes turns (engine/volume/hydration-pace.ts).
    if (this.options.seed % 2 === 1) this.world.store!.foreground.asked()
    const dice = random.int(100)
    if (dice < 45) this.append(life)
    else if (dice < 58) this.apply(life)
    else if (dice < 72) this.clone(life)
    else if (dice < 74) this.remove(life)
    else if (dice < 77) this.fillAnew(life)
    else if (dice < 78) life.copy.hydration.want(this.slices())
    else if (dice < 79) this.make()
    else if (dice < 85) this.look(life)
    else if (dice < 88) this.lookAtSnapshots(life)
    else if (dice < 92) this.scan(life)
    else if (dice < 96) this.randomCrash()
    else if (dice < 98) this.bequeath(life)
    for (let i = random.int(5); i > 0; i--) this.step()
  }

  private step(): void {
    if (this.world.clock.pending > 0) this.world.clock.step()
  }

  private slices(): number[] {
    return Array.from({ length: this.sliceCount }, (_, slice) => slice)
  }

  // --- volumes

  private spec(name: string) {
    const sizeBytes = this.sliceCount > 1 ? this.sliceCount * 2 ** 30 : 4 * 2 ** 20
    const durability = this.options.writeback === true ? ('writeback' as const) : ('durable' as const)
    return this.world.spec(name, sizeBytes, { durability })
  }

  private make(): void {
    if (this.lives.size >= VOLUMES_MOST) return
    const name = `v${this.number++}`
    const spec = this.spec(name)
    const copyId = `${name}c`
    const created = this.world.await<Result<OpenCopy>>((done) => this.world.store!.createCopy(spec, copyId, done))
    if (!created.ok) throw created.error
    const { sizeBytes } = spec
    const life = new Life({ name, copyId, sizeBytes, seq: 0, base: new Map(), epochs: [] })
    life.use(created.value.copy)
    this.lives.set(spec.id, life)
    this.newEpoch(life)
  }

  private newEpoch(life: Life): void {
    const epoch = life.greatestEpoch + 1 + this.random.int(2)
    life.greatestEpoch = epoch
    life.epochs = [...life.epochs, [epoch, life.tail + 1]]
    const change: ControlChange = { operation: 'epoch', epochs: life.epochs }
    this.give(life, life.push({ epoch, kind: 'control', lba: 0, stamps: [], blockCount: 0, change }))
  }

  private give(life: Life, record: ModelRecord): void {
    life.copy.append(replicated(record))
  }

  private append(life: Life): void {
    const { random } = this
    if (life.tail - life.applied > 20) return this.apply(life)
    const { epoch } = life
    const dice = random.int(100)
    const control = { epoch, kind: 'control' as const, lba: 0, stamps: [], blockCount: 0 }
    const snapshots = [...life.state(life.tail).snapshots.keys()]
    if (dice < 14 || (dice < 20 && snapshots.length === 0)) {
      if (snapshots.length > 3) return
      return this.give(life, life.push({ ...control, change: { operation: 'snapshot', id: `s${this.number++}` } }))
    }
    if (dice < 20) {
      const id = random.pick(snapshots)
      const change: ControlChange = dice < 17 ? { operation: 'snapshot-delete', id } : { operation: 'rollback', to: id }
      return this.give(life, life.push({ ...control, change }))
    }
    const lba = random.pick(this.lbas)
    if (dice < 35) {
      const kind = random.pick(['zero', 'trim'] as const)
      const most = SLICE_BLOCKS - (lba % SLICE_BLOCKS)
      const blockCount = Math.min(most, random.chance(0.3) ? 1 + random.int(900) : 1 + random.int(6))
      return this.give(life, life.push({ epoch, kind, lba, stamps: [], blockCount }))
    }
    const blockCount = Math.min(1 + random.int(6), 256 - (lba % 256))
    const stamps = Array.from({ length: blockCount }, () => this.stamp++)
    this.give(life, life.push({ epoch, kind: 'write', lba, stamps, blockCount }))
  }

  private apply(life: Life): void {
    this.world.clock.runUntil(() => life.storedSeq >= life.tail || life.copy.failedReason !== '')
    if (life.copy.failedReason !== '') this.fail(life.copy.failedReason)
    life.applied = life.applied + this.random.int(life.tail - life.applied + 1)
    life.copy.apply(life.applied, undefined)
  }

  private clone(origin: Life): void {
    const { random } = this
    const snapshots = [...origin.state().snapshots]
    if (this.lives.size >= VOLUMES_MOST || snapshots.length === 0) return
    const [snapshotId, { seq, blocks }] = random.pick(snapshots)
    const name = `v${this.number++}`
    const spec = this.spec(name)
    const copyId = `${name}c`
    const epochs = origin.epochs.filter(([, firstSeq]) => firstSeq <= seq)
    const life = new Life({ name, copyId, sizeBytes: spec.sizeBytes, seq, base: blocks, epochs })
    let result: Result<OpenCopy> | undefined
    const source = { volumeId: origin.copy.volumeId, snapshotId, seq }
    this.world.store!.cloneCopy(spec, copyId, source, (answer) => (result = answer))
    if (random.chance(0.15)) {
      // Cut while it is made: then it is there, or not.
      for (let i = random.int(40); i > 0; i--) this.step()
      this.counts.cut++
      return this.crash(...this.howToCrash(), { mayBe: [spec.id, life, result?.ok === true] })
    }
    this.world.clock.runUntil(() => result !== undefined)
    if (!result!.ok) {
      if (!/below it/.test(result!.error.message)) throw result!.error
      this.counts.refused++
      return
    }
    this.counts.clones++
    this.counts.depth = Math.max(this.counts.depth, depthOf(result!.value.copy))
    life.use(result!.value.copy)
    this.lives.set(spec.id, life)
    const { stored } = result!.value
    const { tail, appliedSeq, baseSeq } = stored
    if (tail !== seq || appliedSeq !== seq || baseSeq !== seq) this.fail(`it began at ${stored.tail}`)
    if (random.chance(0.5)) this.look(life)
    this.newEpoch(life)
  }

  /** Whole pages of a clone are trimmed, another clone is made of that, and the first one goes before anybody looks. */
  private bequeath(life: Life): void {
    const { random } = this
    if (life.baseSeq === 0 || this.lives.size >= VOLUMES_MOST) return
    const { epoch } = life
    const lba = Math.floor(random.pick(this.lbas) / 256) * 256
    const kind = random.pick(['zero', 'trim'] as const)
    this.give(life, life.push({ epoch, kind, lba, stamps: [], blockCount: 256 * (1 + random.int(3)) }))
    const change: ControlChange = { operation: 'snapshot', id: `s${this.number++}` }
    this.give(life, life.push({ epoch, kind: 'control', lba: 0, stamps: [], blockCount: 0, change }))
    this.settleAll()
    this.clone(life)
    if (this.lives.get(life.copy.volumeId) === life) this.remove(life)
  }

  private remove(life: Life): void {
    const { random } = this
    const { volumeId } = life.copy
    let isDone = false
    this.world.store!.removeCopy(volumeId, () => (isDone = true))
    this.counts.removed++
    if (random.chance(0.3)) {
      for (let i = random.int(60); i > 0; i--) this.step()
      this.counts.cut++
      return this.crash(...this.howToCrash(), { mayGo: [volumeId, isDone] })
    }
    this.world.clock.runUntil(() => isDone)
    this.lives.delete(volumeId)
  }

  /** As a copy whose history is another one, or that trims were forgotten for: everything is wiped, and comes again. */
  private fillAnew(life: Life): void {
    this.settleAll()
    const state = life.state(life.tail)
    life.applied = life.tail
    const target = life.tail
    // A source may have forgotten what it trimmed: it has holes there, and so has whoever it fills.
    const known = [...state.versions().values()]
    const isOver = (lba: number, seq: number) =>
      known.some((one) => one.kind === 'write' && one.lba === lba && one.seq < seq)
    const isSent = ({ kind, lba, seq }: (typeof known)[number]) => kind === 'write' || isOver(lba, seq)
    const sent = this.random.chance(0.5) ? known : known.filter(isSent)
    const versions = sent.map(({ lba, epoch, seq, kind, stamp }): BlockVersion => {
      const payload = kind === 'write' ? mixedPayload(stamped(stamp), [stamp]) : undefined
      return { lba, epoch, seq, kind, payload }
    })
    this.random.shuffle(versions)
    const descriptor = {
      ...life.copy.descriptor(),
      epochs: life.epochs,
      snapshots: [...state.snapshots].map(([id, { seq }]) => ({ id, seq, pinnedBy: null })),
    }
    const wipe = this.slices()
    const slices = wipe.map((slice): [number, number] => [slice, 0])
    const facts = { consistency: { state: 'filling' as const, target, slices } }
    this.counts.filled++
    life.copy.startFill(1, { fork: 0, target, wipe, descriptor, facts })
    if (this.random.chance(0.3)) {
      for (let i = this.random.int(80); i > 0; i--) this.step()
      this.counts.cut++
      return this.crash(...this.howToCrash(), { filling: [life, versions] })
    }
    this.finishFill(life, versions, true)
  }

  private finishFill(life: Life, versions: BlockVersion[], isBeginning: boolean): void {
    if (isBeginning) this.answer(life, 1)
    for (let at = 0; at < versions.length; at += 20) {
      life.copy.fill(2, versions.slice(at, at + 20))
      this.answer(life, 2)
    }
    life.copy.keep(3, { consistency: { state: 'consistent' } })
    this.answer(life, 3)
    life.storedSeq = life.copy.tail
  }

  private answer(life: Life, token: number): StoreEvent {
    const isIt = (event: StoreEvent) => ('token' in event && event.token === token) || event.type === 'store-failed'
    const find = () => life.events.find(isIt)
    this.world.clock.runUntil(() => find() !== undefined)
    const event = find()!
    life.events = life.events.filter((one) => one !== event)
    if (event.type === 'store-failed') this.fail(`${life.name}: ${event.reason}`)
    return event
  }

  private settleAll(): void {
    for (const life of this.lives.values()) {
      this.world.clock.runUntil(() => life.storedSeq >= life.tail || life.copy.failedReason !== '')
      life.applied = life.tail
      life.copy.apply(life.applied, undefined)
    }
  }

  /** In any order; then nothing of them may be left. */
  private removeAll(): void {
    const ids = [...this.lives.keys()]
    this.random.shuffle(ids)
    // Now and then the clones first: then their origins have nothing but their own.
    const isClone = (id: string): number => (this.lives.get(id)!.baseSeq > 0 ? 0 : 1)
    if (this.random.chance(0.5)) ids.sort((a, b) => isClone(a) - isClone(b))
    if (this.random.chance(0.5)) this.deleteSnapshots()
    for (const id of ids) {
      this.lookAtAll()
      if ([...this.lives.values()].every(({ baseSeq }) => baseSeq === 0)) this.checkSpace()
      this.world.await<unknown>((done) => this.world.store!.removeCopy(id, done))
      this.lives.delete(id)
    }
    const store = this.world.store!
    // What was read by others is erased when nobody reads it any more, and is in nobody's way.
    const maps = () => store.streams().flatMap(({ map }) => [...map.volumes.values()])
    const left = () => maps().filter(({ usedUnits }) => usedUnits > 0)
    for (let i = 0; i < 4000 && left().length > 0; i++) this.step()
    if (left().length > 0) this.fail(`${left().map(({ descriptor }) => descriptor.spec.name).join(', ')} keep blocks`)
    for (const id of ids) {
      const create = () => this.world.await<Result<OpenCopy>>((done) =>
        store.createCopy({ ...this.spec(id.slice(-4)), id }, 'again', done))
      let again = create()
      for (let i = 0; i < 4000 && !again.ok; i++) {
        this.step()
        again = create()
      }
      if (!again.ok) throw again.error
    }
  }

  /** What they saw is seen by clones alone from then on, or by nobody. */
  private deleteSnapshots(): void {
    for (const life of this.lives.values()) {
      const control = { epoch: life.epoch, kind: 'control' as const, lba: 0, stamps: [], blockCount: 0 }
      for (const id of life.state(life.tail).snapshots.keys())
        this.give(life, life.push({ ...control, change: { operation: 'snapshot-delete', id } }))
    }
    this.settleAll()
  }

  /** Of volumes that nobody reads through: what some view shows, and nothing besides. */
  private checkSpace(): void {
    for (const life of this.lives.values()) {
      const written = [...life.state().versions().values()].filter(({ kind }) => kind === 'write')
      const shown = written.reduce((sum, { stamp }) => sum + mixedPayload(stamped(stamp), [stamp]).bytes, 0)
      const used = () => usageOf(life.copy.targets).storedBytes
      for (let i = 0; i < 4000 && used() !== shown; i++) this.step()
      if (used() !== shown) this.fail(`${life.name} uses ${used()} bytes, and shows ${shown}`)
      const { logicalBytes } = usageOf(life.copy.targets)
      const blocks = logicalBytes / BLOCK_BYTES
      if (blocks !== written.length) this.fail(`${life.name} has ${blocks} blocks, and shows ${written.length}`)
    }
  }

  // --- what is shown

  private lookAtAll(): void {
    for (const life of this.lives.values()) {
      this.look(life)
      this.lookAtSnapshots(life)
      this.scan(life)
    }
  }

  /** What each of its snapshots shows, and what is told to be there, or to differ between two. */
  private lookAtSnapshots(life: Life): void {
    const { copy } = life
    const snapshots = [...life.state().snapshots].map(([id, { seq, blocks }]) =>
      ({ place: { id, epoch: epochAt(life.epochs, seq), seq }, blocks }))
    for (const { place, blocks } of snapshots) {
      for (const lba of this.lbas) {
        const count = Math.min(8, 256 - (lba % 256))
        copy.readSnapshot(7, place, lba, count)
        const event = this.answer(life, 7)
        if (event.type !== 'read-ended' || !event.ok) this.fail(`${life.name}: ${lba} of ${place.id} cannot be read`)
        event.versions.forEach((version, i) => this.compare(life, lba + i, version, blocks.get(lba + i)))
      }
      const told = this.told(life, place, undefined)
      for (const [lba, { kind }] of blocks)
        if (kind === 'write' && !told.has(lba)) this.fail(`${life.name}: ${lba} of ${place.id} is told as a hole`)
    }
    const [one, other] = this.random.shuffle([...snapshots])
    if (one === undefined || other === undefined) return
    const told = this.told(life, one.place, other.place)
    for (const lba of new Set([...one.blocks.keys(), ...other.blocks.keys()])) {
      const [stamp, former] = [one.blocks.get(lba)?.stamp ?? 0, other.blocks.get(lba)?.stamp ?? 0]
      if (stamp !== former && !told.has(lba))
        this.fail(`${life.name}: ${lba} differs between ${one.place.id} and ${other.place.id}, and is not told`)
    }
  }

  /** Blocks near those that are written that are told as data, or to be another than in `since`. */
  private told(life: Life, place: SnapshotPlace, since: SnapshotPlace | undefined): Set<number> {
    const told = new Set<number>()
    const end = this.sliceCount * SLICE_BLOCKS
    for (let lba = 0; lba < end;) {
      life.copy.mapSnapshot(8, place, { lba, blockCount: end - lba, since })
      const event = this.answer(life, 8)
      if (event.type !== 'mapped' || !event.ok) this.fail(`${life.name}: ${place.id} cannot be mapped`)
      const { runs, endLba } = event
      for (let i = 0; i < runs.length; i += 3)
        if (since !== undefined || runs[i + 2] === SNAPSHOT_RUN_KIND.data)
          for (const one of this.lbas)
            for (let k = 0; k < 16; k++)
              if (one + k >= runs[i]! && one + k < runs[i]! + runs[i + 1]!) told.add(one + k)
      lba = endLba
    }
    return told
  }

  private look(life: Life, from?: StoredCopy): void {
    this.counts.looks++
    const appliedSeq = from?.appliedSeq ?? life.applied
    const { head } = life.state(appliedSeq)
    for (const lba of this.lbas) {
      const count = Math.min(8, 256 - (lba % 256))
      life.copy.read(4, lba, count)
      const event = this.answer(life, 4)
      if (event.type !== 'read-ended' || !event.ok) this.fail(`${life.name}: ${lba} cannot be read`)
      // What a record that waits will cover may be gone from the log already.
      const isCovered = (block: number) => life.records.some(({ seq, lba: first, blockCount, change }) =>
        seq > appliedSeq && (change?.operation === 'rollback' || (block >= first && block < first + blockCount)))
      event.versions.forEach((version, i) => {
        if (from === undefined || !isCovered(lba + i)) this.compare(life, lba + i, version, head.get(lba + i))
      })
      life.copy.lookUp(5, [lba])
      const ids = this.answer(life, 5)
      const first = event.versions[0]!
      if (ids.type !== 'looked-up' || (first.kind === 'write' && ids.seqs[0] !== first.seq))
        this.fail(`${life.name}: ${lba} is looked up as ${JSON.stringify(ids)}, read as ${first.seq}`)
    }
  }

  private compare(life: Life, lba: number, version: BlockVersion, expected: ModelVersion | undefined): void {
    const stamp = stampOfVersion(version)
    const isSame = stamp === (expected?.stamp ?? 0)
    const isId = expected?.kind !== 'write' || (expected.seq === version.seq && expected.epoch === version.epoch)
    if (isSame && isId) return
    const what = `${stamp} (${version.kind} ${version.epoch}:${version.seq}), not ${JSON.stringify(expected)}`
    this.fail(`${life.name} at ${life.applied}, from ${life.baseSeq}: block ${lba} is ${what}`)
  }

  /** A filling of another copy would have everything that some view shows, and nothing that never was. */
  private scan(life: Life): void {
    const upTo = life.applied
    const state = life.state()
    const expected = state.versions()
    const found = new Set<string>()
    for (const slice of this.slices())
      for (let cursor: number | undefined = 0; cursor !== undefined;) {
        life.copy.scan(6, { slice, above: 0, upTo, cursor, bytesMax: 40_000 })
        const event = this.answer(life, 6)
        if (event.type !== 'scanned' || !event.ok) this.fail(`${life.name}: slice ${slice} cannot be scanned`)
        for (const version of event.versions) {
          const key = `${version.lba}/${version.seq}`
          if (found.has(key)) this.fail(`${life.name}: a scan has ${key} twice`)
          found.add(key)
          const known = expected.get(key)
          if (known !== undefined) this.compare(life, version.lba, version, known)
        }
        cursor = event.cursor
      }
    for (const [key, { kind }] of expected)
      if (kind === 'write' && !found.has(key)) this.fail(`${life.name}: a scan lacks ${key}`)
  }

  // --- crashes

  private howToCrash(): Parameters<StoreWorld['crash']> {
    const { random } = this
    const disk = random.pick([
      'kill' as const,
      { kind: 'synced' as const },
      { kind: 'all' as const },
      { kind: 'subset' as const, seed: random.u32() },
    ])
    const index = random.pick([
      'lost' as const,
      { kind: 'all' as const },
      { kind: 'synced' as const },
      { kind: 'subset' as const, seed: random.u32() },
    ])
    // What is written back may go with the power; here it was all synced.
    return this.options.writeback === true ? ['kill', index] : [disk, index]
  }

  private randomCrash(): void {
    if (this.options.writeback !== true) return this.crash(...this.howToCrash())
    this.settleAll()
    for (const { copy } of this.lives.values()) copy.sync()
    this.world.clock.runUntil(() => [...this.lives.values()].every(({ copy }) => copy.queue.durableSeq === copy.tail))
    const [, index] = this.howToCrash()
    this.crash(this.random.pick(['kill' as const, { kind: 'synced' as const }]), index)
  }

  private crash(
    disk: Parameters<StoreWorld['crash']>[0],
    index: Parameters<StoreWorld['crash']>[1],
    during: {
      mayBe?: [id: string, life: Life, isAnswered: boolean]
      mayGo?: [id: string, isAnswered: boolean]
      filling?: [life: Life, versions: BlockVersion[]]
    } = {},
  ): void {
    this.counts.crashes++
    if (index === 'lost') this.counts.lost++
    const storedSeqs = new Map([...this.lives].map(([id, life]) => [id, life.storedSeq]))
    this.world = this.world.crash(disk, index)
    const copies = this.world.open().copies()
    const { mayBe, mayGo, filling } = during
    if (mayBe !== undefined) {
      const [id, life, isAnswered] = mayBe
      if (isAnswered && !copies.has(id)) this.fail(`${life.name} was answered, and is not there`)
      if (copies.has(id)) this.lives.set(id, life)
    }
    if (mayGo !== undefined) {
      const [id, isAnswered] = mayGo
      if (isAnswered && copies.has(id)) this.fail('a removed copy is there again')
      if (!copies.has(id)) this.lives.delete(id)
    }
    for (const id of copies.keys()) if (!this.lives.has(id)) this.fail(`a copy of ${id} is there that nobody made`)
    for (const [id, life] of this.lives) {
      const open = copies.get(id)
      if (open === undefined) this.fail(`${life.name} is gone`)
      const { stored } = open
      life.use(open.copy)
      const isFilling = stored.facts.consistency.state === 'filling'
      if (isFilling && filling?.[0] !== life) this.fail(`${life.name} is being filled`)
      if (stored.lostSlices.length > 0) this.fail(`${life.name} lost slices ${stored.lostSlices.join(' ')}`)
      // A removal that did not come to its end may have dropped what was not applied.
      const least = Math.max(life.baseSeq, mayGo?.[0] === id ? life.applied : storedSeqs.get(id) ?? 0)
      if (!isFilling && (stored.tail < least || stored.tail > life.tail))
        this.fail(`${life.name} has ${stored.tail}, ${least} was stored`)
      // What it opened with, before anybody tells it more.
      life.records = life.records.filter(({ seq }) => seq <= stored.tail)
      life.epochs = life.epochs.filter(([, firstSeq]) => firstSeq <= stored.tail)
      if (!isFilling && !(filling?.[0] === life)) this.look(life, stored)
    }
    for (const life of this.lives.values()) {
      life.applied = Math.min(life.applied, life.copy.tail)
      life.copy.apply(life.applied, undefined)
    }
    if (filling !== undefined) {
      const [life, versions] = filling
      if (copies.get(life.copy.volumeId)!.stored.facts.consistency.state === 'filling') {
        life.applied = life.copy.tail
        this.finishFill(life, versions, false)
      }
    }
    // What was given and is not there is never given again under its id.
    for (const life of this.lives.values()) this.newEpoch(life)
  }

  private fail(why: string): never {
    throw new Error(why)
  }
}

/** How many origins lie below one another. */
function depthOf({ targets }: LocalCopyStore): number {
  const { stream, map } = targets[0]!
  let depth = 0
  for (let { origin } = map.descriptor; origin !== null; depth++)
    origin = stream.volumesById.get(origin[0])?.descriptor.origin ?? null
  return depth
}

const stampOfVersion = ({ payload }: BlockVersion): number =>
  payload === undefined ? 0 : stampOf(blocksOf(payload)[0]!)

/** A sentence when the run failed. */
export function runClones(options: CloneRunOptions): { failure: string | undefined; counts: CloneRun['counts'] } {
  const run = new CloneRun(options)
  try {
    run.run()
    return { failure: undefined, counts: run.counts }
  } catch (error) {
    return { failure: `seed ${options.seed}: ${(error as Error).stack ?? String(error)}`, counts: run.counts }
  }
}
