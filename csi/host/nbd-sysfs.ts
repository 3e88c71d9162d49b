/**
 * What the kernel shows of its NBD devices: /sys/block/nbdN/{pid,backend,size,ro}. Read with plain calls that do not
 * wait for any device: opening one could wait for I/O that waits for the keeper.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

const SECTOR_BYTES = 512

export interface KernelDevice {
  index: number
  /** Somebody has configured it, and it is not all over. */
  isUsed: boolean
  /** Empty: nobody said. */
  backend: string
  sizeBytes: number
  isReadOnly: boolean
}

export interface KernelDevices {
  list(): KernelDevice[]
  /** Undefined: there is no such index. */
  device(index: number): KernelDevice | undefined
}

export class NbdSysfs implements KernelDevices {
  readonly #block: string

  constructor(root = '/sys') {
    this.#block = path.join(root, 'block')
  }

  list(): KernelDevice[] {
    const names = readdirSync(this.#block)
    return names.flatMap((name) => {
      const index = /^nbd(\d+)$/.exec(name)?.[1]
      const device = index === undefined ? undefined : this.device(Number(index))
      return device === undefined ? [] : [device]
    })
  }

  device(index: number): KernelDevice | undefined {
    const read = (file: string): string | undefined => {
      try {
        return readFileSync(path.join(this.#block, `nbd${index}`, file), 'utf8').trim()
      } catch {
        return undefined
      }
    }
    const sectors = read('size')
    if (sectors === undefined) return undefined
    return {
      index,
      isUsed: read('pid') !== undefined,
      backend: read('backend') ?? '',
      sizeBytes: Number(sectors) * SECTOR_BYTES,
      isReadOnly: read('ro') === '1',
    }
  }
}
