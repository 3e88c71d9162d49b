/**
 * The device keeper (csi/SPEC.md section 5): block devices of volumes through the kernel's NBD client, kept alive
 * whatever happens to the data process and to this one. What is done next is decided in keeper-step.ts; here it is
 * done, one thing after another for each volume, with a fresh look at the table and the kernel before each.
 *
 * Sockets: of each that the kernel took a double stays here, which shows when it dies, whoever closes it. Those that an
 * earlier keeper gave cannot be seen; when the kernel says that one died, and now and then, a socket is offered, which
 * is taken only in the place of a dead one.
 *
 * The kernel never waits for this process but for sockets, and this process never waits for a device: nothing here
 * opens one. Between the look at /sys and the command no other code of ours runs; a program that takes an index apart
 * and uses it for itself exactly then cannot be kept from losing it by a DISCONNECT, and by nothing else (a backend is
 * named).
 */
import { errnoName } from '../../cluster/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { ErrorCode } from '../../engine/errors.ts'
import type { LogPort } from '../../engine/ports.ts'
import type { EntryStore, TableEntry } from './device-table.ts'
import type { DetachOptions, DeviceNotes, DeviceWish, HostDevice, HostDevices } from './host-devices.ts'
import { nextStep } from './keeper-step.ts'
import type { Ask, DeviceView, SocketView, Step } from './keeper-step.ts'
import { TOO_OLD } from './kernel-nbd.ts'
import type { Dialled, ExportFacts } from './nbd-handshake.ts'
import type { ConnectOptions, ReconfigureOptions } from './nbd-netlink.ts'
import type { KernelDevice } from './nbd-sysfs.ts'
import { REQUEST_SECONDS } from './nbd-timeouts.ts'

/** How often sockets are looked at, and what failed is tried again. */
export const LOOK_MS = 250
const DIAL_MS = 2000
const PROBE_MS = 10_000
const SETTLE_MS = 20
export const DISCONNECT_MS = 30_000
const SIZE_MS = 10_000
/** A data process that is updated, or killed, is back by then: nobody is asked about that. */
export const SILENT_MS = 20_000
const ASK_MS = 5000

/** The kernel and the data process, as the keeper meets them. Commands are carried out when they return. */
export interface KeeperPort {
  /**
   * The kernel's NBD client is there, loaded if need be. What is not there has no devices, so only who wants one asks.
   * @throws HoldfastError `kernel-nbd` when the kernel has none, or not for us; so do the commands, which load nothing
   */
  load(): void
  devices(): KernelDevice[]
  /** @returns the index, or a negative errno */
  connect(options: ConnectOptions): number
  reconfigure(options: ReconfigureOptions): number
  disconnect(index: number): number
  /** Indexes of which a connection died since the last time; undefined: some may have been missed. */
  deadLinks(): number[] | undefined
  isTaken(fd: number): boolean
  isDead(fd: number): boolean
  closeFd(fd: number): void
  /** @throws HoldfastError `attachment-absent` */
  dial(socketPath: string, withinMs: number): Promise<Dialled>
  /** The newest generation of which the data process offers a socket in that folder; undefined: none. */
  newestOffered(entry: TableEntry): number | undefined
  /** Who is seen to use that index (device-users.ts); opens nothing, waits for nothing. */
  usersOf(index: number): readonly string[]
  /** The device's file is there. */
  hasNode(path: string): boolean
  nowMs(): number
  sleep(ms: number): Promise<void>
}

interface Kept {
  entry: TableEntry | undefined
  ready: Dialled[]
  held: number[]
  unknown: number
  isSuspect: boolean
  probedMs: number
  /** The last of what is done with it; the next thing waits for it. */
  turn: Promise<unknown>
  isBusy: boolean
  /** Since when it cannot be kept, for want of its data process or of a device that is free; undefined: it can. */
  stuckSinceMs: number | undefined
  /** When it was asked last whether its attachment is over; Infinity: somebody is being asked, or it is. */
  askedMs: number
  /** What was told last of why it is not kept; told once. */
  told: string
}

export interface DeviceKeeperOptions {
  port: KeeperPort
  table: EntryStore
  log: LogPort
  onBug(error: unknown): void
  /**
   * The control API says, of anybody's data process, that this host does not hold that attachment any more. Silence is
   * false. Unset: nobody can be asked, and what is over fails when its time is over.
   */
  isOver?(volumeId: string, generation: number): Promise<boolean>
}

export class DeviceKeeper implements HostDevices {
  readonly #o: DeviceKeeperOptions
  readonly #volumes = new Map<string, Kept>()
  #isClosed = false
  #looking: Promise<void> = Promise.resolve()

  /** What the table has is looked after from `start` on. */
  constructor(options: DeviceKeeperOptions) {
    this.#o = options
    for (const entry of options.table.read()) {
      const kept = this.#at(entry.volumeId)
      kept.entry = entry
      kept.unknown = entry.connections
      kept.isSuspect = true
    }
  }

  /** Go on with what an earlier keeper left, and look after all of it until `close`. */
  start(): void {
    this.#looking = this.#lookOn().catch(this.#o.onBug)
  }

  /** Devices stay as they are. Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#looking
    await Promise.all([...this.#volumes.values()].map(({ turn }) => turn.catch(() => undefined)))
    for (const { held, ready } of this.#volumes.values()) {
      for (const fd of [...held, ...ready.map((one) => one.fd)]) this.#o.port.closeFd(fd)
    }
  }

  attach(wish: DeviceWish): Promise<HostDevice> {
    return this.#inTurn(wish.volumeId, async (kept) => {
      this.#o.port.load()
      await this.#drive(kept, { type: 'attach', wish })
      const device = this.#deviceOf(kept.entry!)
      await this.#until(() => this.#o.port.hasNode(device.path), SIZE_MS, () => ({
        code: 'device-refused', detail: { what: `showing ${device.path}`, reason: '/dev does not have it' },
      }))
      return device
    })
  }

  detach(volumeId: string, { force = false }: DetachOptions = {}): Promise<void> {
    return this.#inTurn(volumeId, async (kept) => {
      // Also where the kernel has no NBD client: nothing can be there.
      if (kept.entry !== undefined) await this.#drive(kept, { type: 'detach', force })
    })
  }

  resize(volumeId: string, sizeBytes: number): Promise<HostDevice> {
    return this.#inTurn(volumeId, async (kept) => {
      await this.#drive(kept, { type: 'resize', sizeBytes })
      return this.#deviceOf(kept.entry!)
    })
  }

  async find(volumeId: string): Promise<HostDevice | undefined> {
    const entry = this.#volumes.get(volumeId)?.entry
    return entry === undefined ? undefined : this.#deviceOf(entry)
  }

  async list(): Promise<HostDevice[]> {
    const kernel = this.#o.port.devices()
    return [...this.#volumes.values()].flatMap(({ entry }) => (entry === undefined ? [] : [deviceOf(entry, kernel)]))
  }

  note(volumeId: string, { mounts }: DeviceNotes): Promise<HostDevice> {
    return this.#inTurn(volumeId, async (kept) => {
      if (kept.entry === undefined) throw new HoldfastError('device-absent', { volume: volumeId })
      this.#save(kept, { ...kept.entry, mounts })
      return this.#deviceOf(kept.entry)
    })
  }

  #deviceOf(entry: TableEntry): HostDevice {
    return deviceOf(entry, this.#o.port.devices())
  }

  #at(volumeId: string): Kept {
    let kept = this.#volumes.get(volumeId)
    if (kept === undefined) {
      kept = {
        entry: undefined, ready: [], held: [], unknown: 0, isSuspect: false, probedMs: 0, turn: Promise.resolve(),
        isBusy: false, stuckSinceMs: undefined, askedMs: -Infinity, told: '',
      }
      this.#volumes.set(volumeId, kept)
    }
    return kept
  }

  #inTurn<T>(volumeId: string, work: (kept: Kept) => Promise<T>): Promise<T> {
    const kept = this.#at(volumeId)
    const done = kept.turn.catch(() => undefined).then(async () => {
      if (this.#isClosed) throw new HoldfastError('keeper-stopping', {})
      kept.isBusy = true
      try {
        return await work(kept)
      } finally {
        kept.isBusy = false
        this.#letGo(kept)
        if (kept.entry === undefined && kept.turn === done) this.#volumes.delete(volumeId)
      }
    })
    kept.turn = done
    return done
  }

  /** Sockets that the kernel has no use for. */
  #letGo(kept: Kept): void {
    for (const { fd } of kept.ready.splice(0)) this.#o.port.closeFd(fd)
  }

  // --- looking after what is there ----------------------------------------------------------------------------------

  async #lookOn(): Promise<void> {
    while (!this.#isClosed) {
      this.#look()
      await this.#o.port.sleep(LOOK_MS)
    }
  }

  #look(): void {
    const { port } = this.#o
    const dead = port.deadLinks()
    for (const [volumeId, kept] of this.#volumes) {
      const { entry } = kept
      if (entry === undefined || kept.isBusy) continue
      const index = entry.device.kind === 'nbd' ? entry.device.index : undefined
      const isDue = kept.unknown > 0 && port.nowMs() - kept.probedMs >= PROBE_MS
      if (dead === undefined || (index !== undefined && dead.includes(index)) || isDue) kept.isSuspect = true
      this.#dropDead(kept)
      this.#askWhetherOver(volumeId, kept)
      const isShort = kept.held.length + kept.unknown < entry.connections || (kept.unknown > 0 && kept.isSuspect)
      if (entry.state === 'detaching' || (entry.state === 'attached' && isShort)) this.#keep(volumeId)
      // One that was cut off may be there.
      else if (entry.state === 'attaching' && kept.unknown > 0) this.#keep(volumeId)
    }
  }

  #dropDead(kept: Kept): void {
    const { port } = this.#o
    kept.held = kept.held.filter((fd) => {
      if (!port.isDead(fd)) return true
      port.closeFd(fd)
      return false
    })
  }

  #keep(volumeId: string): void {
    void this.#inTurn(volumeId, async (kept) => {
      await this.#drive(kept, { type: 'keep' })
      kept.told = ''
      kept.stuckSinceMs = undefined
    }).catch((error: unknown) => this.#waits(volumeId, error))
  }

  #waits(volumeId: string, error: unknown): void {
    const { port, log, onBug } = this.#o
    if (!(error instanceof HoldfastError)) return onBug(error)
    const kept = this.#volumes.get(volumeId)
    if (kept === undefined || this.#isClosed) return
    if (STUCK.includes(error.code)) kept.stuckSinceMs ??= port.nowMs()
    if (kept.told === error.message) return
    kept.told = error.message
    log.event('warn', 'a device waits', { volume: volumeId, reason: error.message })
  }

  /**
   * The kernel holds its I/O, and only a data process that had its sessions answers them with errors when it is over.
   * That one is dead, so the device is ended here: kubelet could neither end its pods nor unmount it.
   */
  #askWhetherOver(volumeId: string, kept: Kept): void {
    const { port, log, isOver } = this.#o
    const { stuckSinceMs = Infinity, askedMs, held, entry } = kept
    const nowMs = port.nowMs()
    if (isOver === undefined || held.length > 0 || nowMs - stuckSinceMs < SILENT_MS || nowMs - askedMs < ASK_MS) return
    const { generation } = entry!
    kept.askedMs = Infinity
    void isOver(volumeId, generation).then(async (isSaid) => {
      kept.askedMs = port.nowMs()
      if (!isSaid || this.#isClosed) return
      await this.#inTurn(volumeId, async (now) => {
        if (now.entry?.generation !== generation || now.stuckSinceMs === undefined) return
        const path = pathOf(now.entry)
        log.event('warn', 'the attachment of a device is over', { volume: volumeId, generation, path })
        await this.#drive(now, { type: 'over' })
        now.askedMs = Infinity
      })
    }).catch((error: unknown) => this.#waits(volumeId, error))
  }

  // --- one thing after another --------------------------------------------------------------------------------------

  #view(kept: Kept): DeviceView {
    const { port } = this.#o
    const { entry, ready, held, unknown, isSuspect } = kept
    const sockets: SocketView = { ready: ready.length, facts: ready[0]?.facts, held: held.length, unknown, isSuspect }
    const newest = entry === undefined ? undefined : port.newestOffered(entry)
    const isSuperseded = newest !== undefined && newest > entry!.generation
    return { entry, kernel: port.devices(), sockets, isSuperseded, usersOf: (index) => port.usersOf(index) }
  }

  /** Until nothing is left to do. @throws HoldfastError when that cannot be */
  async #drive(kept: Kept, ask: Ask): Promise<void> {
    const { port } = this.#o
    const startedMs = port.nowMs()
    for (let connects = 0; ;) {
      this.#dropDead(kept)
      const step = nextStep(this.#view(kept), ask)
      if (step.do === 'connect' && ++connects > 1) {
        throw new HoldfastError('device-refused', { what: 'making the device', reason: 'it was made, and is gone' })
      }
      if (step.do === 'done') return
      if (step.do === 'refuse') throw new HoldfastError(step.code, step.detail)
      if (!(await this.#do(kept, step))) continue
      // It takes the kernel, or whoever has the device open, a moment.
      const [mostMs, why] = patience(step, kept)
      // Not what time brings: a later attachment is served here, and of this one nothing is any more.
      if (step.do === 'wait' && step.for === 'superseded') throw why
      if (ask.type === 'keep' || ask.type === 'over') return
      if (port.nowMs() - startedMs > mostMs) throw why
      await port.sleep(SETTLE_MS)
    }
  }

  /** @returns whether it is not over with that: look again in a moment */
  async #do(kept: Kept, step: Step): Promise<boolean> {
    const { port, table } = this.#o
    switch (step.do) {
      case 'save':
        this.#save(kept, step.entry)
        return false
      case 'remove':
        table.remove(kept.entry!.volumeId)
        this.#forget(kept)
        return false
      case 'dial':
        await this.#dial(kept, step.count)
        return false
      case 'connect':
        this.#connect(kept, kept.ready[0]!.facts)
        return false
      case 'reconfigure': return this.#reconfigure(kept, step)
      case 'retime': {
        const { index, deadConnectionMs } = step
        const { backend } = kept.entry!
        const deadConnectionSeconds = secondsOf(deadConnectionMs)
        this.#checked('changing the device', port.reconfigure({ index, backend, sockets: [], deadConnectionSeconds }))
        this.#save(kept, { ...kept.entry!, deadConnectionMs })
        return false
      }
      case 'disconnect':
        this.#checked('letting go of the device', port.disconnect(step.index))
        return true
      case 'wait':
        // What was said with it is over: the next one says it anew.
        if (step.for === 'growth') this.#letGo(kept)
        return true
      default: return true
    }
  }

  #save(kept: Kept, entry: TableEntry): void {
    const { log, table } = this.#o
    table.save(entry)
    if (kept.entry?.state !== entry.state) {
      const { volumeId: volume, generation, state } = entry
      log.event('info', 'a device of a volume', { volume, generation, state, path: pathOf(entry) })
    }
    if (entry.state === 'attached' && kept.held.length === 0) {
      kept.unknown = entry.connections
      kept.isSuspect = true
    }
    if (entry.state === 'attaching') kept.unknown = 0
    kept.entry = entry
  }

  #forget(kept: Kept): void {
    for (const fd of kept.held.splice(0)) this.#o.port.closeFd(fd)
    const nobodyAsked = { stuckSinceMs: undefined, askedMs: -Infinity }
    Object.assign(kept, { entry: undefined, unknown: 0, isSuspect: false, told: '', ...nobodyAsked })
  }

  async #dial(kept: Kept, count: number): Promise<void> {
    const { port } = this.#o
    const { socket } = kept.entry!
    const dialled = await Promise.allSettled(Array.from({ length: count }, () => port.dial(socket, DIAL_MS)))
    for (const one of dialled) if (one.status === 'fulfilled') kept.ready.push(one.value)
    const failed = dialled.find((one) => one.status === 'rejected')
    if (failed !== undefined) throw failed.reason as Error
  }

  #connect(kept: Kept, { sizeBytes, blockSizeBytes, flags }: ExportFacts): void {
    const { port } = this.#o
    const entry = kept.entry!
    const sockets = kept.ready.map(({ fd }) => fd)
    const result = port.connect({
      sockets,
      sizeBytes,
      blockSizeBytes,
      flags: entry.readOnly ? flags | READ_ONLY : flags,
      requestSeconds: REQUEST_SECONDS,
      deadConnectionSeconds: secondsOf(entry.deadConnectionMs),
      backend: entry.backend,
    })
    this.#checked('making the device', result)
    this.#checkShown(result, entry)
    kept.ready = []
    kept.held = sockets
    kept.unknown = 0
    kept.isSuspect = false
  }

  /**
   * A kernel before 5.14 takes a backend, and never shows it: whose a device is could not be seen, so one was made anew
   * at each look. The index is what CONNECT answered in this very turn: nobody else's command was carried out since.
   */
  #checkShown(index: number, { backend }: TableEntry): void {
    const { port } = this.#o
    const shown = port.devices().find((one) => one.index === index)
    // Gone again, or another's: not a matter of the kernel's age.
    if (shown?.isUsed !== true || shown.backend !== '') return
    const ended = port.disconnect(index)
    this.#o.log.event('error', 'the kernel does not show whose a device is', { backend, index, ended })
    throw new HoldfastError('kernel-nbd', { reason: TOO_OLD.reason, way: TOO_OLD.way })
  }

  #reconfigure(kept: Kept, { index, sizeBytes }: { index: number; sizeBytes?: number }): boolean {
    const { port, log } = this.#o
    const { backend, connections, volumeId } = kept.entry!
    const sockets = sizeBytes === undefined ? kept.ready.map(({ fd }) => fd) : []
    const size = sizeBytes === undefined ? {} : { sizeBytes }
    this.#checked('changing the device', port.reconfigure({ index, backend, sockets, ...size }))
    if (sizeBytes !== undefined) return true
    const taken = sockets.filter((fd) => port.isTaken(fd))
    const missing = Math.max(connections - kept.held.length - kept.unknown, 0)
    kept.ready = kept.ready.filter(({ fd }) => !taken.includes(fd))
    this.#letGo(kept)
    kept.held.push(...taken)
    kept.unknown -= Math.max(taken.length - missing, 0)
    if (taken.length < sockets.length) kept.isSuspect = false
    kept.probedMs = port.nowMs()
    if (taken.length > 0) {
      const [volume, path] = [volumeId, pathOf(kept.entry!)]
      log.event('info', 'sockets of a device are new', { volume, path, sockets: taken.length })
    }
    // The kernel may be a moment behind with what it calls dead.
    return taken.length < sockets.length && missing > 0
  }

  #checked(what: string, result: number): void {
    if (result < 0) throw new HoldfastError('device-refused', { what, reason: errnoName(-result) })
  }

  async #until(isSo: () => boolean, mostMs: number, otherwise: () => Refusal): Promise<void> {
    const { port } = this.#o
    for (const startedMs = port.nowMs(); !isSo(); await port.sleep(SETTLE_MS)) {
      if (port.nowMs() - startedMs <= mostMs) continue
      const { code, detail } = otherwise()
      throw new HoldfastError(code, detail)
    }
  }
}

interface Refusal {
  code: ErrorCode
  detail: Record<string, string | number>
}

/** Of what is kept: its data process offers nothing or a later one, or it was to be let go of, and somebody uses it. */
const STUCK: readonly ErrorCode[] = ['attachment-absent', 'session-stale', 'device-busy']
const READ_ONLY = 2

const secondsOf = (ms: number): number => Math.ceil(ms / 1000)

function patience(step: Step, { entry }: Kept): [mostMs: number, error: HoldfastError] {
  const path = entry === undefined ? '' : pathOf(entry)
  if (step.do === 'disconnect') {
    return [DISCONNECT_MS, new HoldfastError('device-busy', { path, by: 'somebody has it open' })]
  }
  if (step.do === 'wait' && step.for === 'superseded') {
    return [0, new HoldfastError('session-stale', { volume: entry!.volumeId })]
  }
  if (step.do === 'wait' && step.for === 'growth') {
    const reason = 'the data process here does not serve that size yet'
    return [SIZE_MS, new HoldfastError('device-refused', { what: `growing ${path}`, reason })]
  }
  return [SIZE_MS, new HoldfastError('device-refused', { what: `${path}`, reason: 'it does not show its size' })]
}

function pathOf({ device }: TableEntry): string {
  return device.kind === 'fuse' || device.index === undefined ? '' : `/dev/nbd${device.index}`
}

/** N5: an index is told of only while the kernel shows our backend there; it may be another's by now. */
function deviceOf(entry: TableEntry, kernel: readonly KernelDevice[]): HostDevice {
  const { volumeId, generation, mode, sizeBytes, blockSizeBytes, mounts } = entry
  const own = kernel.find(({ isUsed, backend }) => isUsed && backend === entry.backend)
  const path = own === undefined ? '' : `/dev/nbd${own.index}`
  const state = own === undefined && entry.state === 'attached' ? 'attaching' : entry.state
  const readOnly = entry.readOnly || entry.isServedReadOnly === true
  return {
    volumeId, generation, mode, path, state, sizeBytes, blockSizeBytes, readOnly, mounts,
  }
}
