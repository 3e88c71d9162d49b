/**
 * What a daemon is started with so that it takes little memory. Its compiled sources are cached apart from those of
 * other processes, since V8's flags are part of a cache's name.
 *
 * Measured with random overwrites and reads of a cold map: 764 MiB resident as it comes, 370 MiB with two arenas of
 * malloc and young generations of 4 MiB a half (most garbage of the data path dies within a turn). The limit of the old
 * generation is far from what is ever used; it makes V8 let a heap grow by half of what lives in it between two
 * collections instead of fourfold (66 and 31 MiB).
 *
 * No pretenuring: V8 gives a place in the code whose objects once lived long, because large writes waited for a
 * replica, room in the old generation for good. Of the objects of small writes that came later three of ten lay there,
 * dead within a turn and freed by full collections only.
 *
 * Each of its threads collects what its start left behind (`cluster/start-garbage.ts`), and asks for that by `gc`.
 *
 * What makes a daemon faster and is not needed for it to work, is a quarter on a host with little memory.
 */
import os from 'node:os'
import { GIB, MIB } from '../engine/units.ts'

const hasLittle = os.totalmem() < GIB

/**
 * Of the two halves of a young generation, each; it costs twice that. A data worker's takes most of what a daemon
 * allocates, and what is on its way when a half is full is copied.
 */
export const YOUNG_HALF_MIB = hasLittle ? { control: 1, data: 2 } : { control: 4, data: 8 }
/** Of a pool of slabs, which would be made anew without. */
export const IDLE_SLABS_BYTES = (hasLittle ? 8 : 32) * MIB

export const MALLOC_ARENA_MAX = '2'
export const DAEMON_FLAGS = [
  `--max-semi-space-size=${YOUNG_HALF_MIB.control}`, '--max-old-space-size=512', '--no-allocation-site-pretenuring',
  '--expose-gc',
]
