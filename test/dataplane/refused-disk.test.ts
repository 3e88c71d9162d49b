/** Risk: a disk that a running worker refuses stays open there, so it cannot be taken when what failed is mended. */
import { readdirSync, readlinkSync, truncateSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { prepareDisk, releaseDisk } from '../../dataplane/disk-preparation.ts'
import type { PreparedDisk } from '../../dataplane/disk-preparation.ts'
import { openLevelIndex } from '../../dataplane/disk/level-index.ts'
import { openStore } from '../../dataplane/store-shell.ts'
import type { StoreShell } from '../../dataplane/store-shell.ts'
import { MIB } from '../../engine/units.ts'
import type { Result } from '../../engine/volume/store-api.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const NODE = { nodeName: 'n1', nodeId: '1'.repeat(32), clusterId: 'c'.repeat(32) }
/** One worker has them all, as after a start with fewer of them. */
const STREAMS = 2
const SIZE = 512 * MIB

/** Of this process, below that folder. */
const openBelow = (dir: string): string[] => readdirSync('/proc/self/fd').flatMap((fd) => {
  try {
    return [readlinkSync(`/proc/self/fd/${fd}`)]
  } catch {
    return []
  }
}).filter((file) => file.startsWith(dir)).sort()

function prepared(file: string): PreparedDisk {
  const option = { path: file, sizeBytes: SIZE, pool: 'default', tags: [] }
  const disk = prepareDisk(option, NODE, STREAMS)
  if (!disk.ok) throw disk.error
  return disk.value
}

const add = (shell: StoreShell, disk: PreparedDisk): Promise<Result<undefined>> =>
  new Promise((resolve) => shell.addDisk(disk, [], resolve))

t.test('a disk that is refused is closed, and taken when it is tried again', async (t) => {
  const dir = temporaryFolder(t)
  const [indexDir, second] = [path.join(dir, 'index'), path.join(dir, 'second')]
  const first = prepared(path.join(dir, 'first'))
  const log = { event: () => undefined }
  const opened = await openStore({
    disks: [first], indexDir, worker: 0, workers: 1, barrier: new SharedArrayBuffer(4), log,
  })
  if (!opened.ok) throw opened.error
  const shell = opened.value
  const isServed = () => shell.disks().some(({ path: at, state }) => at === second && state === 'online')

  const inTheWay = prepared(second)
  const open = () => openBelow(dir).filter((file) => file === second || file.includes(inTheWay.diskUuid))
  const held = await openLevelIndex(path.join(indexDir, inTheWay.diskUuid, '1'))
  if (held.kind !== 'open') throw new Error(held.kind)
  t.match(await add(shell, inTheWay), { ok: false, error: { code: 'folder-in-use' } }, 'the index of its second stream')
  await held.index.close()
  releaseDisk(inTheWay)
  t.same(open(), [])

  const short = prepared(second)
  truncateSync(second, 4 * MIB)
  t.match(await add(shell, short), { ok: false }, 'its segments cannot be read')
  releaseDisk(short)
  t.same(open(), [])
  truncateSync(second, SIZE)

  const whole = prepared(second)
  t.match(await add(shell, whole), { ok: true })
  t.ok(isServed())
  await new Promise<void>((resolve) => shell.stop(() => resolve()))
  for (const disk of [first, whole]) releaseDisk(disk)
  t.same(openBelow(dir), [])
})
