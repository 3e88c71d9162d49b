/** Risk: a device is taken away from somebody who uses it, since he is not seen. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { usersOf } from '../../../csi/host/device-users.ts'
import { parseMountinfo } from '../../../csi/host/mountinfo.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

t.test('mounts, other namespaces, holders, loop devices', (t) => {
  const root = temporaryFolder(t)
  const put = (file: string, text = ''): void => {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
    writeFileSync(path.join(root, file), text)
  }
  for (const index of [0, 1, 10]) put(`sys/block/nbd${index}/dev`, `43:${index * 32}\n`)
  const users = (name: string, lines: string[] = []): string[] => usersOf(name, root, parseMountinfo(lines.join('\n')))
  t.same(users('nbd1'), [])
  t.same(users('nbd1', ['80 22 43:32 / /k/a rw - ext4 /dev/nbd1 rw', '81 22 43:32 /x /k/b rw - ext4 /dev/nbd1 rw']),
    ['mounted on /k/a', 'mounted on /k/b'])
  t.same(users('nbd1', ['80 22 0:52 / /k/a rw - btrfs /dev/nbd1 rw']), ['mounted on /k/a'], 'by its source')
  t.same(users('nbd1', ['80 22 43:320 / /k/a rw - ext4 /dev/nbd10 rw']), [], 'another one')
  put('sys/block/loop3/loop/backing_file', '/k/block\n')
  t.same(users('nbd1', ['80 22 0:5 /nbd1 /k/block rw - devtmpfs udev rw']), ['mounted on /k/block', 'loop3'],
    'the node on a file, and a loop device of that')
  put('sys/block/loop4/loop/backing_file', '/dev/nbd1 (deleted)\n')
  put('sys/block/loop5/loop/backing_file', '/dev/nbd10\n')
  t.same(users('nbd1'), ['loop4'])
  put('sys/block/nbd0/holders/dm-2')
  t.same(users('nbd0'), ['dm-2'])
  put('sys/fs/xfs/nbd0/log/x')
  t.same(users('nbd0'), ['xfs, mounted where it is not seen from here', 'dm-2'])
  t.end()
})
