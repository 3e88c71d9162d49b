/** Loop devices of files, as /sys shows them; made and ended by losetup(8). */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'
import { hostCommand } from './host-command.ts'
import { mountsOf } from './mountinfo.ts'

const BLOCK_DEVICES = '/sys/block'
const SECTOR_BYTES = 512
const LOOP_DEADLINE_MS = 60_000
/** Others (blkid of udev) may have it open for a moment when it ends. */
const END_WAIT_MS = 10_000
const LOOK_EVERY_MS = 20

export interface LoopDevice {
  /** `/dev/loop3`. */
  path: string
  /** `major:minor`. */
  device: string
  sizeBytes: number
  isReadOnly: boolean
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function attribute(name: string, which: string): string | undefined {
  try {
    return readFileSync(path.join(BLOCK_DEVICES, name, which), 'utf8').trim()
  } catch {
    return undefined
  }
}

/** Of that file, which may be gone; undefined: there is none. */
export function loopOf(file: string): LoopDevice | undefined {
  for (const name of readdirSync(BLOCK_DEVICES)) {
    if (!/^loop\d+$/.test(name)) continue
    const backing = attribute(name, 'loop/backing_file')
    if (backing !== file && backing !== `${file} (deleted)`) continue
    const [device, sectors] = [attribute(name, 'dev'), attribute(name, 'size')]
    if (device === undefined || sectors === undefined) continue
    const isReadOnly = attribute(name, 'ro') === '1'
    return { path: `/dev/${name}`, device, sizeBytes: Number(sectors) * SECTOR_BYTES, isReadOnly }
  }
  return undefined
}

/** One there is when this resolves, of one that was there or anew. */
export async function makeLoop(
  file: string, { isReadOnly, blockSizeBytes }: { isReadOnly: boolean; blockSizeBytes: number },
): Promise<LoopDevice> {
  const there = loopOf(file)
  if (there !== undefined) return there
  const words = ['--find', '--sector-size', String(blockSizeBytes), ...(isReadOnly ? ['--read-only'] : []), file]
  await hostCommand('losetup', words, { what: `make a loop device of ${file}`, deadlineMs: LOOP_DEADLINE_MS })
  const made = loopOf(file)
  if (made !== undefined) return made
  throw new HoldfastError('device-unread', { device: file, reason: 'losetup made no loop device of it' })
}

/** Gone, as /sys shows. @throws HoldfastError `device-busy`: it is mounted, or somebody has it open */
export async function endLoop(file: string): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += LOOK_EVERY_MS) {
    const loop = loopOf(file)
    if (loop === undefined) return
    const isMounted = mountsOf(loop.device).length > 0
    if (isMounted || waitedMs > END_WAIT_MS) {
      throw new HoldfastError('device-busy', { path: loop.path, by: 'it is mounted, or open' })
    }
    if (waitedMs === 0) {
      const run = { what: `end ${loop.path}`, deadlineMs: LOOP_DEADLINE_MS, allow: [1] }
      await hostCommand('losetup', ['--detach', loop.path], run)
    }
    await pause(LOOK_EVERY_MS)
  }
}
