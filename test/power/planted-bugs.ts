/** Bugs that only lost power shows: what a real kernel has not written is gone. */
import path from 'node:path'
import type { Edit } from '../sim/mutants.ts'

/** Loaded into a process it plants the one that its environment names. */
export const PLANT = path.join(import.meta.dirname, '../sim/mutants.ts')

export const POWER_PLANTED: ReadonlyArray<Edit & { name: string }> = [
  {
    name: 'a batch is durable without a sync',
    file: 'dataplane/disk/file-disk.ts',
    replace: 'fs.fdatasync(fd, (error) => {',
    by: 'setImmediate((error = null) => {',
  },
]
