/** The status page: the worst health wins, every problem has a reason and a next step, and when a reboot is safe. */
import t from 'tap'
import { LONE_NODE } from '../../../cluster/api/cluster-limits.ts'
import type { Disk, Node } from '../../../cluster/api/node-messages.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import { statusPage } from '../../../cluster/api/status-page.ts'

const disk = (changes: Partial<Disk> = {}): Disk => ({
  path: '/d', pool: 'default', capacityBytes: 1000, freeBytes: 500, state: 'online', reason: '', uuid: 'u', tags: [],
  reserveBytes: 0, checksumErrors: 0, node: 'n1', ...changes,
})
const node = (disks: Disk[]) => ({ name: 'n1', state: 'up', clusterId: 'c', disks }) as unknown as Node
const volume = (name: string, changes: Partial<Volume> = {}) => ({
  name, health: 'healthy', healthReason: '', heldRequests: 0, usedBytes: 7, frontends: [], ...changes,
}) as unknown as Volume

t.test('nothing wrong', async (t) => {
  t.same(statusPage(node([disk()]), [volume('a'), volume('b')], 0), {
    clusterId: 'c', health: 'healthy', volumes: 2, volumesHealthy: 2, capacityBytes: 1000, freeBytes: 500,
    usedBytes: 14, snapshots: 0, newestSnapshotAtMs: 0, sessions: 0, problems: [], limits: [LONE_NODE],
    copiesNeverScrubbed: 0, oldestScrubAtMs: 0, oldestScrubVolume: '', oldestScrubNode: '', copiesScrubbing: 0,
    scrubPercent: 0, hydrating: 0, sharedSlices: 0, nodes: [{
      name: 'n1', state: 'up', safeToReboot: true, because: 'no volume on it is in use; they are away until it is back',
    }],
  })
})

t.test('what is wrong, why, and what happens next', async (t) => {
  const volumes = [
    volume('ok'),
    volume('full', { health: 'suspended', healthReason: 'pool-full', heldRequests: 3 }),
    volume('lost', { health: 'faulted', healthReason: 'disk /x failed' }),
  ]
  const disks = [
    disk({ path: '/x', state: 'failed', reason: 'EIO' }), disk({ path: '/y', freeBytes: 99 }),
    disk({ path: '/z', checksumErrors: 2 }),
  ]
  const page = statusPage(node(disks), volumes, 4)
  t.equal(page.health, 'faulted')
  t.equal(page.volumesHealthy, 1)
  t.match(page.problems.map(({ what, why }) => `${what}: ${why}`), [
    'volume full: suspended: pool-full, 3 request(s) held', 'volume lost: faulted: disk /x failed',
    'disk /x: failed: EIO',
    'disk /y: 9 % of pool default is free on it', 'disk /z: 2 stored block(s) failed their checksum',
  ])
  t.notOk(page.problems.some(({ next }) => next === ''))
  t.match(page.problems[0]?.next, /^delete or trim data, or add a disk with `holdfast disk add`; its I\/O is/)
})

t.test('safe to reboot', async (t) => {
  const used = (name: string) => volume(name, { frontends: [{ node: 'n1', session: '1', generation: 0 }] })
  const because = (volumes: Volume[]) => statusPage(node([disk()]), volumes, 0).nodes[0]
  t.match(because([]), { safeToReboot: true, because: 'it holds no volume' })
  t.match(because([used('a'), volume('b')]), { safeToReboot: false, because: 'it has the only copy of a, in use now' })
  t.match(because(['a', 'b', 'c', 'd', 'e'].map(used)), { safeToReboot: false, because: /a, b, c and 2 more/ })
})
