/**
 * What the kernel shows of its NBD devices: /sys/block/nbdN/{pid,backend,size,ro}. Read with plain calls that do not
 * wait for any device: opening one could wait for I/O that waits for the keeper.
 *
 * Invariant: what cannot be read (no descriptors, no memory) is not taken to be gone: a device that is there would lose
 * its entry, or get a second one beside it.
 */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

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

/** @throws HoldfastError `device-unread`, of all calls */
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
    const names = read(this.#block, () => readdirSync(this.#block), [])
    return names.flatMap((name) => {
      const index = /^nbd(\d+)$/.exec(name)?.[1]
      const device = index === undefined ? undefined : this.device(Number(index))
      return device === undefined ? [] : [device]
    })
  }

  device(index: number): KernelDevice | undefined {
    const shown = (name: string): string | undefined => {
      const file = path.join(this.#block, `nbd${index}`, name)
      return read(file, () => readFileSync(file, 'utf8').trim())
    }
    const sectors = shown('size')
    if (sectors === undefined) return undefined
    return {
      index,
      isUsed: shown('pid') !== undefined,
      backend: shown('backend') ?? '',
      sizeBytes: Number(sectors) * SECTOR_BYTES,
      isReadOnly: shown('ro') === '1',
    }
  }
}

/** Of a device: there was none, or it went just now. */
const GONE: readonly string[] = ['ENOENT', 'ENODEV']

/** @returns undefined: it is not there */
function read<T>(file: string, work: () => T): T | undefined
function read<T>(file: string, work: () => T, gone: readonly []): T
function read<T>(file: string, work: () => T, gone = GONE): T | undefined {
  try {
    return work()
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException
    if (gone.includes(code)) return undefined
    throw new HoldfastError('device-unread', { device: file, reason: code }, { cause: error })
  }
}
