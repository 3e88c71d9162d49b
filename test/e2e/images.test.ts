/**
 * Risk: a real file system image does not come back as it went in: through other people's tools, from a rebuilt index,
 * over two disks, after a change of workers, or salvaged from the bare disks.
 */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { missing, run, uri } from '../conformance/nbd/nbd-process.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
const IMAGE_BYTES = 200 * MIB
const WIDE_BYTES = 2 * GIB

/** ext4 with the sources of this project in it, and some large files. */
function makeFileSystem(folder: string): string {
  const tree = path.join(folder, 'tree')
  fs.cpSync(path.resolve(import.meta.dirname, '../../engine'), path.join(tree, 'engine'), { recursive: true })
  for (let file = 0; file < 6; file++) fs.writeFileSync(path.join(tree, `large-${file}`), randomBytes(9 * MIB + 777))
  const image = path.join(folder, 'image')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, IMAGE_BYTES)
  execFileSync('mkfs.ext4', ['-q', '-d', tree, image])
  fs.rmSync(tree, { recursive: true })
  return image
}

/** A piece of data in each slice, and one over the border of two. */
function makeWide(folder: string): string {
  const file = path.join(folder, 'wide')
  fs.writeFileSync(file, '')
  fs.truncateSync(file, WIDE_BYTES)
  const fd = fs.openSync(file, 'r+')
  for (const at of [0, GIB - 2 * MIB, GIB + 300 * MIB, 2 * GIB - MIB]) {
    const data = randomBytes(at === GIB - 2 * MIB ? 5 * MIB : MIB)
    fs.writeSync(fd, data, 0, data.length, at)
  }
  fs.closeSync(fd)
  return file
}

const skip = missing('qemu-img', 'nbdcopy', 'mkfs.ext4', 'e2fsck', 'cmp')

t.test('images in, out, rebuilt, salvaged', { skip }, async (t) => {
  const folder = temporaryFolder(t)
  const disks = [0, 1].map((disk) => path.join(folder, `disk${disk}`))
  const words = (workers: number): string[] =>
    [...disks.flatMap((disk) => ['--disk', `path=${disk},size=${512 * MIB}`]), '--workers', String(workers)]
  const [image, wide] = [makeFileSystem(folder), makeWide(folder)]
  const originals = { image, wide }
  const node = new NodeProcess(t, folder, words(1))
  t.ok(await node.ready(), node.stderr)
  const { nbd, folder: home } = node.paths
  for (const [name, size] of [['image', IMAGE_BYTES], ['wide', WIDE_BYTES]] as const) {
    const made = await holdfast(['volume', 'create', name, '--size', String(size), '--endpoint', home])
    t.equal(made.code, 0, made.stderr)
  }

  const isSame = async (volume: keyof typeof originals, what: string): Promise<void> => {
    const said = await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', originals[volume], uri(nbd, volume))
    t.match(said, { status: 0, stdout: /identical/ }, `${volume} ${what}`)
  }

  for (const volume of ['image', 'wide'] as const) {
    const from = originals[volume]
    const said = await run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', from, uri(nbd, volume))
    t.equal(said.status, 0, said.stderr)
    await isSame(volume, 'after convert')
  }
  const back = path.join(folder, 'back')
  t.match(await run('nbdcopy', uri(nbd, 'image'), back), { status: 0 })
  t.match(await run('cmp', image, back), { status: 0 })
  t.match(await run('e2fsck', '-fn', back), { status: 0 })
  fs.rmSync(back)
  const { disks: statuses } = (JSON.parse((await holdfast(['node', 'ls', '-o', 'json', '--endpoint', home])).stdout) as
    Array<{ disks: Array<{ capacityBytes: number; freeBytes: number }> }>)[0]!
  for (const { capacityBytes, freeBytes } of statuses) t.ok(freeBytes < capacityBytes, 'both disks have data')

  await t.test('kill -9, no index: rebuilt and the same', async (t) => {
    node.kill('SIGKILL')
    await node.ended()
    fs.rmSync(node.paths.index, { recursive: true })
    const again = new NodeProcess(t, folder, words(1))
    t.ok(await again.ready(), again.stderr)
    t.ok(again.log().some(({ message }) => message === 'the index is rebuilt from the log'))
    await isSame('image', 'from a rebuilt index')
    await isSame('wide', 'from a rebuilt index')
    again.kill('SIGTERM')
    t.match(await again.ended(), { code: 0 })
  })

  for (const workers of [2, 1]) {
    await t.test(`${workers} workers`, async (t) => {
      const again = new NodeProcess(t, folder, words(workers))
      t.ok(await again.ready(), again.stderr)
      await isSame('image', `with ${workers} workers`)
      await isSame('wide', `with ${workers} workers`)
      const name = `small-${workers}`
      t.match(await holdfast(['volume', 'create', name, '--size', '8Mi', '--endpoint', home]), { code: 0 })
      const listed = await holdfast(['volume', 'ls', '--endpoint', home])
      for (const volume of ['image', 'wide', 'small-2']) t.match(listed.stdout, new RegExp(`^${volume} .*healthy`, 'm'))
      if (workers === 2) again.kill('SIGKILL')
      else again.kill('SIGTERM')
      await again.ended()
    })
  }

  await t.test('salvage from disks without an index', async (t) => {
    fs.rmSync(node.paths.index, { recursive: true })
    t.match(await holdfast(['verify', ...disks]), { code: 0, stdout: /^clean/m })
    for (const volume of ['image', 'wide'] as const) {
      const to = path.join(folder, `${volume}.salvaged`)
      const said = await holdfast(['salvage', ...disks, '--volume', volume, '--to', to])
      t.match(said, { code: 0, stdout: /damage +none/ }, said.stderr)
      const same = await run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', originals[volume], to)
      t.match(same, { status: 0, stdout: /identical/ }, `${volume} salvaged`)
      fs.rmSync(to)
    }
  })
})
