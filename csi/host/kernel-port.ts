/** The keeper's port to the real kernel: generic netlink, /sys, unix sockets. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { closeFd, hasHungUp } from '../../cluster/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'
import type { KeeperPort } from './device-keeper.ts'
import type { TableEntry } from './device-table.ts'
import { usersOf } from './device-users.ts'
import { GenericNetlink, GroupListener } from './generic-netlink.ts'
import { kernelNbd, whyNoNbd } from './kernel-nbd.ts'
import { dialAttachment } from './nbd-handshake.ts'
import { NBD_FAMILY, NBD_GROUP, NbdNetlink, deadLink, isTaken } from './nbd-netlink.ts'
import type { ConnectOptions, ReconfigureOptions } from './nbd-netlink.ts'
import { NbdSysfs } from './nbd-sysfs.ts'
import type { KernelDevice } from './nbd-sysfs.ts'

const MODPROBE_MS = 10_000
/** It holds up all devices while it runs. */
const MODPROBE_EVERY_MS = 30_000
const MODULE = '/sys/module/nbd'

/** Devices are made as they are needed, and nobody looks for partitions on them. */
function modprobe(): void {
  spawnSync('modprobe', ['nbd', 'max_part=0', 'nbds_max=0'], { timeout: MODPROBE_MS, stdio: 'ignore' })
}

/** A data process that begins removes the folder; what cannot be read offers nothing. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

interface Nbd {
  netlink: GenericNetlink
  /** Another one when the module was loaded anew. */
  familyId: number
  commands: NbdNetlink
  listener: GroupListener
}

export class KernelPort implements KeeperPort {
  readonly #sysfs = new NbdSysfs()
  readonly #loadModule: () => void
  #triedMs = -Infinity
  #nbd: Nbd | undefined
  readonly isTaken = isTaken
  readonly closeFd = closeFd
  readonly dial = dialAttachment
  readonly hasNode = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isBlockDevice() === true
  readonly usersOf = (index: number): string[] => usersOf(`nbd${index}`)
  readonly nowMs = (): number => performance.now()
  readonly sleep = async (ms: number): Promise<void> => void (await sleep(ms))

  constructor(loadModule = modprobe) {
    this.#loadModule = loadModule
  }

  isDead(fd: number): boolean {
    return hasHungUp(fd, true)
  }

  load(): void {
    if (kernelNbd().state === 'old') throw new HoldfastError('kernel-nbd', whyNoNbd())
    if (this.#nbd !== undefined && this.#nbd.netlink.family(NBD_FAMILY)?.id !== this.#nbd.familyId) {
      this.#nbd.netlink.close()
      this.#nbd.listener.close()
      this.#nbd = undefined
    }
    if (this.#nbd === undefined && !existsSync(MODULE) && this.nowMs() - this.#triedMs >= MODPROBE_EVERY_MS) {
      this.#triedMs = this.nowMs()
      this.#loadModule()
    }
    this.#commands()
  }

  devices(): KernelDevice[] {
    return this.#sysfs.list()
  }

  connect(options: ConnectOptions): number {
    return this.#commands().connect(options)
  }

  reconfigure(options: ReconfigureOptions): number {
    return this.#commands().reconfigure(options)
  }

  disconnect(index: number): number {
    return this.#commands().disconnect(index)
  }

  /** Before there is a device nobody listens: all of them may have died. */
  deadLinks(): number[] | undefined {
    if (this.#nbd === undefined) return []
    const { told, isWhole } = this.#nbd.listener.take()
    if (!isWhole) return undefined
    return told.flatMap((one) => deadLink(one) ?? [])
  }

  newestOffered({ socket, volumeId }: TableEntry): number | undefined {
    const generations = namesIn(path.dirname(socket)).flatMap((name) => {
      const [id, generation] = name.split('.')
      return id === volumeId ? [Number(generation)] : []
    })
    return generations.length === 0 ? undefined : Math.max(...generations)
  }

  #commands(): NbdNetlink {
    if (this.#nbd !== undefined) return this.#nbd.commands
    const netlink = GenericNetlink.open()
    if (typeof netlink === 'number') throw new HoldfastError('kernel-nbd', whyNoNbd())
    const family = netlink.family(NBD_FAMILY)
    if (family === undefined) {
      netlink.close()
      throw new HoldfastError('kernel-nbd', whyNoNbd())
    }
    const listener = new GroupListener(family, NBD_GROUP)
    this.#nbd = { netlink, familyId: family.id, commands: new NbdNetlink(netlink, family.id), listener }
    return this.#nbd.commands
  }
}
