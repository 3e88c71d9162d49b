/**
 * The world of a device keeper, simulated: the kernel's NBD devices with their sockets, foreign ones among them, the
 * data process, the table on disk, and a clock that runs when everybody waits. A keeper can be killed before or after
 * each of its effects; what belongs to its process is gone then, what the kernel and the disk have stays.
 *
 * A DISCONNECT fails all I/O at once, as the real one does, also of whoever has the device open or mounted; the device
 * goes when they let go of it. The world judges each command by itself: `wrong` says what must never happen.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { DeviceKeeper } from '../../../csi/host/device-keeper.ts'
import type { KeeperPort } from '../../../csi/host/device-keeper.ts'
import type { EntryStore, TableEntry } from '../../../csi/host/device-table.ts'
import type { DeviceWish } from '../../../csi/host/host-devices.ts'
import type { KernelDevice } from '../../../csi/host/nbd-sysfs.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const SIZE_BYTES = 1 << 30
const EBUSY = 16
const EINVAL = 22

/** Many times what a life needs; somebody who asks again and again reaches it. */
const EFFECTS_MAX = 5000

class Killed extends Error {}

interface Socket {
  volumeId: string
  generation: number
  isDead: boolean
  isTaken: boolean
}

interface Device {
  index: number
  backend: string
  sizeBytes: number
  sockets: Socket[]
  deadConnectionSeconds: number
  /** Somebody has it open, which nobody sees. */
  isOpen: boolean
  /** Mounts and the like, which are seen. */
  users: string[]
  /** It was disconnected: its I/O fails, and it goes with its last user. */
  isOver: boolean
}

const fresh = (index: number, backend: string, isOpen = false): Device =>
  ({ index, backend, sizeBytes: 4096, sockets: [], deadConnectionSeconds: 0, isOpen, users: [], isOver: false })

export class KeeperWorld {
  readonly wrong: string[] = []
  readonly devices = new Map<number, Device>()
  readonly table = new Map<string, string>()
  /** By volume: the generation in force. */
  readonly offers = new Map<string, number>()
  isDataUp = true
  hasKernel = true
  /** How often it was to be loaded, and could not be. */
  loads = 0
  losesEvents = false
  /** Transmission flags. */
  serverFlags = 1
  /** Of each volume, as the data process serves it. */
  servedBytes = SIZE_BYTES
  /** A kernel from 5.14 on. */
  showsBackend = true
  /** What is made is gone at once. */
  isFleeting = false
  /** By volume: of which generation it is asked and said that it is over; undefined: who is asked is silent. */
  readonly over = new Map<string, number>()
  /** Whoever uses a device may get errors: somebody said so, or its attachment is over. */
  mayFail = false
  nowMs = 0
  /** How many effects there were. */
  effects = 0
  /** The keeper is killed at that one; a half more: behind it. */
  killAt = Infinity
  /** 0: at the next DISCONNECT; a half: behind it. */
  killAtDisconnect = Infinity
  #process = 0
  #isAlive = false
  readonly #fds = new Map<number, Socket>()
  #nextFd = 10
  #dead: number[] = []

  constructor() {
    this.devices.set(0, fresh(0, '', true))
    this.devices.set(2, fresh(2, 'of-somebody'))
  }

  wish(volumeId: string, generation = this.offers.get(volumeId)!): DeviceWish {
    return { volumeId, generation, mode: 'single', nodeFolder: '/n', ioTimeoutMs: 600_000 }
  }

  /** Another keeper; the one before is dead. */
  keeper(): DeviceKeeper {
    const mine = ++this.#process
    this.#isAlive = true
    for (const [fd, socket] of this.#fds) {
      if (!socket.isTaken) socket.isDead = true
      this.#fds.delete(fd)
    }
    const keeper = new DeviceKeeper({
      port: this.#port(mine), table: this.#table(mine), log: { event: () => undefined },
      onBug: (error) => {
        if (!(error instanceof Killed)) this.wrong.push(String((error as Error).stack))
      },
      isOver: async (volumeId, generation) => {
        this.#check(mine)
        await turn()
        return this.over.get(volumeId) === generation
      },
    })
    keeper.start()
    return keeper
  }

  /** Whoever takes it by now: an index that is free. */
  takeByOthers(index: number): void {
    if (!this.devices.has(index)) this.devices.set(index, fresh(index, ''))
  }

  /** Nobody has it open or mounted any more. */
  letGo(volumeId: string): void {
    const device = this.deviceOf(volumeId)!
    device.isOpen = false
    device.users = []
    if (device.isOver) this.devices.delete(device.index)
  }

  /** Somebody else disconnects it, or the host boots. */
  lose(index: number): void {
    this.devices.delete(index)
  }

  /** All its connections end; another one serves at once. */
  restartData(): void {
    for (const { sockets } of this.devices.values()) for (const socket of sockets) this.#die(socket)
    for (const socket of this.#fds.values()) this.#die(socket)
  }

  killOne(volumeId: string): void {
    this.#die(this.deviceOf(volumeId)!.sockets.find(({ isDead }) => !isDead)!)
  }

  deviceOf(volumeId: string): Device | undefined {
    return [...this.devices.values()].find(({ backend }) => backend.includes(volumeId))
  }

  live(volumeId: string): number {
    return this.deviceOf(volumeId)?.sockets.filter(({ isDead }) => !isDead).length ?? -1
  }

  /** As long as that, by its clock, which stands while no keeper lives. */
  async pass(ms: number): Promise<void> {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs && this.#isAlive;) await turn()
  }

  foreign(): string {
    return JSON.stringify([...this.devices.values()].filter(({ backend }) => !backend.startsWith('holdfast-')))
  }

  #die(socket: Socket): void {
    if (socket.isDead) return
    socket.isDead = true
    const device = [...this.devices.values()].find(({ sockets }) => sockets.includes(socket))
    if (device !== undefined && !this.losesEvents) this.#dead.push(device.index)
  }

  #effect<T>(mine: number, work: () => T): T {
    this.#check(mine)
    const number = this.effects++
    if (number === EFFECTS_MAX) this.wrong.push('it never ends')
    if (number >= EFFECTS_MAX) this.#kill()
    if (this.killAt === number) this.#kill()
    const result = work()
    if (this.killAt === number + 0.5) this.#kill()
    return result
  }

  /** Whoever keeps devices in it is dead. */
  end(): void {
    this.#process++
    this.#isAlive = false
  }

  #kill(): never {
    this.end()
    throw new Killed('killed')
  }

  #check(mine: number): void {
    if (mine !== this.#process) throw new Killed('dead')
  }

  #table(mine: number): EntryStore {
    return {
      read: () => [...this.table.values()].map((entry) => JSON.parse(entry) as TableEntry),
      save: (entry) => this.#effect(mine, () => void this.table.set(entry.volumeId, JSON.stringify(entry))),
      remove: (volumeId) => this.#effect(mine, () => {
        if (this.deviceOf(volumeId) !== undefined) this.wrong.push(`${volumeId}: its entry goes before its device`)
        this.table.delete(volumeId)
      }),
    }
  }

  /** N1, as the world sees it: the durable entry of that volume is of that device. */
  #judge(index: number, what: string): void {
    const { backend = 'nothing' } = this.devices.get(index) ?? {}
    const entries = [...this.table.values()].map((entry) => JSON.parse(entry) as TableEntry)
    if (!entries.some((entry) => entry.backend === backend)) this.wrong.push(`N1: ${what} of nbd${index}, ${backend}`)
  }

  #port(mine: number): KeeperPort {
    return {
      devices: () => {
        this.#check(mine)
        const shown = ({ index, backend, sizeBytes }: Device): KernelDevice =>
          ({ index, isUsed: true, backend: this.showsBackend ? backend : '', sizeBytes, isReadOnly: false })
        return this.hasKernel ? [...this.devices.values()].map(shown) : []
      },
      load: () => {
        this.#check(mine)
        if (this.hasKernel) return
        this.loads++
        throw new HoldfastError('kernel-nbd', { reason: 'none', way: 'none' })
      },
      connect: ({ sockets, sizeBytes, backend, deadConnectionSeconds }) => this.#effect(mine, () => {
        const entry = [...this.table.values()].map((one) => JSON.parse(one) as TableEntry)
        if (!entry.some((one) => one.backend === backend)) this.wrong.push(`${backend} is made before it is noted`)
        if ([...this.devices.values()].some((one) => one.backend === backend)) this.wrong.push(`${backend} twice`)
        let index = 0
        while (this.devices.has(index)) index++
        const taken = sockets.map((fd) => this.#take(fd))
        this.devices.set(index, { ...fresh(index, backend), sizeBytes, deadConnectionSeconds, sockets: taken })
        if (this.isFleeting) this.lose(index)
        return index
      }),
      reconfigure: ({ index, backend, sockets, sizeBytes, deadConnectionSeconds }) => this.#effect(mine, () => {
        this.#judge(index, 'RECONFIGURE')
        const device = this.devices.get(index)
        if (device === undefined || device.isOver) return -EINVAL
        if (device.backend !== '' && device.backend !== backend) return -EINVAL
        if (sizeBytes !== undefined) device.sizeBytes = sizeBytes
        device.deadConnectionSeconds = deadConnectionSeconds ?? device.deadConnectionSeconds
        if (device.sizeBytes > this.servedBytes) this.wrong.push(`nbd${index} shows more than is served`)
        for (const fd of sockets) {
          const at = device.sockets.findIndex(({ isDead }) => isDead)
          if (at >= 0) device.sockets[at] = this.#take(fd)
          const { volumeId, generation } = this.#fds.get(fd)!
          if (backend !== `holdfast-${volumeId}-${generation}`) this.wrong.push(`${backend} gets a socket of another`)
        }
        return 0
      }),
      disconnect: (index) => this.#effect(mine, () => {
        this.#judge(index, 'DISCONNECT')
        if (this.killAtDisconnect === 0) this.#kill()
        const device = this.devices.get(index)
        if (device === undefined) return -EBUSY
        const { users, isOpen, sockets } = device
        if (users.length > 0 && !device.isOver && !this.mayFail) this.wrong.push(`I/O fails of ${users.join()}`)
        device.isOver = true
        for (const socket of sockets) socket.isDead = true
        if (!isOpen && users.length === 0) this.devices.delete(index)
        if (this.killAtDisconnect === 0.5) this.#kill()
        return 0
      }),
      deadLinks: () => {
        this.#check(mine)
        return this.#dead.splice(0)
      },
      isTaken: (fd) => this.#fds.get(fd)!.isTaken,
      isDead: (fd) => this.#fds.get(fd)!.isDead,
      closeFd: (fd) => {
        const socket = this.#fds.get(fd)
        if (socket === undefined) this.wrong.push(`descriptor ${fd} is closed twice`)
        else if (!socket.isTaken) socket.isDead = true
        this.#fds.delete(fd)
      },
      dial: async (path) => {
        await turn()
        return this.#effect(mine, () => {
          const [volumeId = '', generation = ''] = path.slice('/n/attached/'.length).split('.')
          if (!this.isDataUp || this.offers.get(volumeId) !== Number(generation)) {
            throw new HoldfastError('attachment-absent', { path, reason: 'ENOENT' })
          }
          const fd = this.#nextFd++
          this.#fds.set(fd, { volumeId, generation: Number(generation), isDead: false, isTaken: false })
          return { fd, facts: { sizeBytes: this.servedBytes, blockSizeBytes: 4096, flags: this.serverFlags } }
        })
      },
      newestOffered: ({ volumeId }) => this.isDataUp ? this.offers.get(volumeId) : undefined,
      usersOf: (index) => this.devices.get(index)!.users,
      hasNode: () => true,
      nowMs: () => this.nowMs,
      sleep: async (ms) => {
        this.#check(mine)
        await turn()
        this.nowMs += ms
        this.#check(mine)
      },
    }
  }

  #take(fd: number): Socket {
    const socket = this.#fds.get(fd)!
    socket.isTaken = true
    return socket
  }
}
