/** Lines of /proc/self/mountinfo, as the kernel writes them, odd ones too. */
import t from 'tap'
import { isReadOnly, mountAt, mountsOf, parseMountinfo, readMounts } from '../../../csi/host/mountinfo.ts'

const TEXT = [
  '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro',
  '80 22 43:0 / /k/pods/a rw,noatime shared:40 master:2 propagate_from:3 - xfs /dev/nbd0 rw,nouuid,attr2',
  '81 22 43:0 / /k/with\\040blank\\011and\\134 ro,noatime - xfs /dev/nbd0 rw,nouuid',
  '82 22 0:5 /nbd1 /k/block rw,nosuid shared:9 - devtmpfs udev rw,size=10k',
  '83 80 0:44 / /k/pods/a rw - tmpfs tmpfs rw',
  'no line of ours',
  '84 22 0:45 / /x rw',
  '',
].join('\n')
const mounts = parseMountinfo(TEXT)

t.same(mounts.map(({ id }) => id), [22, 80, 81, 82, 83], 'what is no line is left out')
t.same(mounts[1], {
  id: 80, parentId: 22, device: '43:0', root: '/', mountPoint: '/k/pods/a', options: ['rw', 'noatime'], fsType: 'xfs',
  source: '/dev/nbd0', superOptions: ['rw', 'nouuid', 'attr2'],
}, 'optional fields of any number')
t.equal(mounts[2]!.mountPoint, '/k/with blank\tand\\')
t.ok(isReadOnly(mounts[2]!))
t.notOk(isReadOnly(mounts[1]!))
t.equal(mounts[3]!.root, '/nbd1', 'a device node that was bound')
t.equal(mountAt('/k/pods/a', mounts)?.fsType, 'tmpfs', 'the last one over others is shown')
t.equal(mountAt('/k/pods', mounts), undefined)
t.same(mountsOf('43:0', mounts).map(({ id }) => id), [81, 80], 'the newest first')
t.ok(readMounts().some(({ mountPoint }) => mountPoint === '/'), 'this host has a root')

const LINES = TEXT.split('\n')
const looks = [LINES.slice(0, 1).join('\n'), LINES.slice(1).join('\n'), TEXT, TEXT]
t.equal(readMounts(() => looks.shift()!).length, 5, 'one that was read while mounts changed is read again')
t.equal(looks.length, 0)
let turn = 0
t.ok(readMounts(() => LINES[turn++ % 2]!).length > 0, 'not for ever')
