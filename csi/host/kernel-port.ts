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

export class KernelPort implements KeeperPort {
  readonly #sysfs = new NbdSysfs()
  #nbd: { commands: NbdNetlink; listener: GroupListener } | undefined
  readonly isTaken = isTaken
  readonly closeFd = closeFd
  readonly dial = dialAttachment
  readonly hasNode = (file: string): boolean => statSync(file, { throwIfNoEntry: false })?.isBlockDevice() === true
  readonly usersOf = (index: number): string[] => usersOf(`nbd${index}`)
  readonly nowMs = (): number => performance.now()
  readonly sleep = async (ms: number): Promise<void> => void (await sleep(ms))

  isDead(fd: number): boolean {
    return hasHungUp(fd, true)
  }

  devices(): KernelDevice[] {
    this.#commands()
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
    const folder = path.dirname(socket)
    if (!existsSync(folder)) return undefined
    const generations = readdirSync(folder).flatMap((name) => {
      const [id, generation] = name.split('.')
      return id === volumeId ? [Number(generation)] : []
    })
    return generations.length === 0 ? undefined : Math.max(...generations)
  }

  #commands(): NbdNetlink {
    if (this.#nbd !== undefined) return this.#nbd.commands
    if (kernelNbd().state === 'old') throw new HoldfastError('kernel-nbd', whyNoNbd())
    const netlink = GenericNetlink.open()
    if (typeof netlink === 'number') throw new HoldfastError('kernel-nbd', whyNoNbd())
    let family = netlink.family(NBD_FAMILY)
    if (family === undefined && !existsSync('/sys/module/nbd')) {
      // Devices are made as they are needed, and nobody looks for partitions on them.
      spawnSync('modprobe', ['nbd', 'max_part=0', 'nbds_max=0'], { timeout: MODPROBE_MS, stdio: 'ignore' })
      family = netlink.family(NBD_FAMILY)
    }
    if (family === undefined) {
      netlink.close()
      throw new HoldfastError('kernel-nbd', whyNoNbd())
    }
    const listener = new GroupListener(family, NBD_GROUP)
    this.#nbd = { commands: new NbdNetlink(netlink, family.id), listener }
    return this.#nbd.commands
  }
}
