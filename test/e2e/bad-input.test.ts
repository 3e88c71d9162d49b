/**
 * Risk: what cannot work is taken, half done, or answered with a stack trace. Every refusal is one sentence with the
 * limit and the next step, an exit code, and nothing changed on disk.
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { crc32c } from '../../dataplane/checksum.ts'
import { superblockOffsetBytes } from '../../engine/log/geometry.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import type { Outcome } from '../cli/run-holdfast.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const MIB = 2 ** 20

/** One sentence, the words in it, an exit code, no trace of our code. */
function isRefused(t: Test, what: string, { code, stderr, stdout }: Outcome, words: RegExp, codes = [1, 2]): void {
  t.test(what, async (t) => {
    t.ok(codes.includes(code), `exit code ${code}`)
    t.match(stderr, words)
    t.match(stderr, /^holdfast: [^\n]+\n$/, 'one sentence')
    t.match(stderr, /; /, 'with a next step')
    t.notMatch(stderr + stdout, /\n +at |Error:|node:internal/)
  })
}

const hashOf = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex')
const diskWord = (file: string, size = ''): string[] => ['--disk', `path=${file}${size}`]
const nodeWords = (dir: string, name = 'n1'): string[] => ['node', '--name', name, '--dir', dir]

t.test('a running node', async (t) => {
  const folder = temporaryFolder(t)
  const node = new NodeProcess(t, folder)
  t.ok(await node.ready(), node.stderr)
  const at = ['--endpoint', node.paths.folder]
  const create = (...words: string[]): Promise<Outcome> => holdfast(['volume', 'create', ...words, ...at])

  const sizes = { '0': 'zero', '-1Gi': 'negative', '1000000': 'no multiple', '65Ti': 'too large', 'much': 'no number' }
  for (const [size, what] of Object.entries(sizes)) {
    isRefused(t, `size ${what}`, await create('a', `--size=${size}`), /positive multiple of 1 MiB, at most 64 TiB/)
  }
  for (const name of ['Data', 'a_b', 'a'.repeat(64), 'é', '']) {
    isRefused(t, `name ${JSON.stringify(name)}`, await create(name, '--size', '1Gi'), /1 to 63 characters of a-z, 0-9/)
  }
  isRefused(t, 'no size', await create('a'), /--size/)
  isRefused(t, 'too many replicas', await create('a', '--size', '1Gi', '--replicas', '2'), /needs 3 nodes/)
  isRefused(t, 'no such pool', await create('a', '--size', '1Gi', '--pool', 'p9'), /no disk of this node is in pool p9/)
  isRefused(t, 'unknown durability', await create('a', '--size', '1Gi', '--durability', 'some'), /durable.*writeback/)
  t.match(await create('a', '--size', '64Mi'), { code: 0 })
  isRefused(t, 'a name that is taken', await create('a', '--size', '1Gi'), /exists already/)
  isRefused(t, 'shrinking', await holdfast(['volume', 'resize', 'a', '--size', '32Mi', ...at]), /would shrink/)
  const forced = await holdfast(['volume', 'resize', 'a', '--size', '32Mi', '--force', ...at])
  const why = /on a node by itself, which would not notice data .* is not supported; copy what is on it into a smaller/
  isRefused(t, 'shrinking by force, of a node by itself', forced, why)
  isRefused(t, 'an unknown volume', await holdfast(['volume', 'inspect', 'zz', ...at]), /there is no volume "?zz"?/)
  isRefused(t, 'an unknown command', await holdfast(['volume', 'blow-up', ...at]), /blow-up/, [2])

  const addDisk = (...words: string[]): Promise<Outcome> => holdfast(['disk', 'add', ...words, ...at])
  const [small, full] = ['small', 'full'].map((name) => path.join(folder, name)) as [string, string]
  isRefused(t, 'disk too small', await addDisk(small, '--size', '1Mi'), /has 1048576 bytes, the least is \d+/)
  t.notOk(fs.existsSync(small))
  fs.writeFileSync(full, Buffer.alloc(512 * MIB, 'not ours'))
  const before = hashOf(full)
  isRefused(t, 'disk with something on it', await addDisk(full), /holds something that is not ours/)
  t.equal(hashOf(full), before, 'it was not touched')
  isRefused(t, 'a folder as disk', await addDisk(folder), /cannot be opened/)
  isRefused(t, 'no such disk', await addDisk(path.join(folder, 'none')), /does not exist/)
  isRefused(t, 'a disk twice', await addDisk(path.join(folder, 'disk0')), /is in use/)

  const second = (dir: string, ...words: string[]): Promise<Outcome> => holdfast([...nodeWords(dir), ...words])
  const other = temporaryFolder(t)
  const disk0 = path.join(folder, 'disk0')
  isRefused(t, 'its folder in use', await second(folder, ...diskWord(disk0)), /is in use by process \d+/)
  isRefused(t, 'its disk in use', await second(other, ...diskWord(disk0)), /in use by process \d+/)
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  const onPort = [...diskWord(path.join(other, 'd'), ',size=512Mi'), '--listen-tcp', `127.0.0.1:${port}`]
  isRefused(t, 'a busy port', await second(other, ...onPort), new RegExp(`port ${port} is in use`))
  server.close()

  node.kill('SIGTERM')
  t.match(await node.ended(), { code: 0 })
  const hash = hashOf(disk0)
  isRefused(t, 'a disk of another node', await second(other, ...diskWord(disk0)), /belongs to node n1 .*disk adopt/)
  t.equal(hashOf(disk0), hash)
})

t.test('paths that are too long', async (t) => {
  const long = path.join(temporaryFolder(t), 'd'.repeat(100))
  isRefused(t, 'node', await holdfast([...nodeWords(long), ...diskWord('d', ',size=1Gi')]), /the limit .* is 107/)
  isRefused(t, 'dev', await holdfast(['dev', '--dir', long]), /the limit .* is 107/)
  t.notOk(fs.existsSync(long), 'nothing was made')
})

t.test('a newer format is refused and not touched', async (t) => {
  const folder = temporaryFolder(t)
  const node = new NodeProcess(t, folder)
  t.ok(await node.ready(), node.stderr)
  node.kill('SIGTERM')
  await node.ended()
  const file = path.join(folder, 'disk0')
  const fd = fs.openSync(file, 'r+')
  for (let copy = 0; copy < 4; copy++) {
    const block = Buffer.alloc(4096)
    fs.readSync(fd, block, 0, 4096, superblockOffsetBytes(copy))
    block.writeUInt32LE(7, 8)
    block.writeUInt32LE(0, 4092)
    block.writeUInt32LE(crc32c(block.subarray(0, 4092)), 4092)
    fs.writeSync(fd, block, 0, 4096, superblockOffsetBytes(copy))
  }
  fs.closeSync(fd)
  const before = hashOf(file)
  const words = /superblock of .* has format version 7, this Holdfast knows 1; nothing was touched/
  isRefused(t, 'node', await holdfast([...nodeWords(folder), ...diskWord(file)]), words)
  isRefused(t, 'verify', await holdfast(['verify', file]), /format version 7/)
  isRefused(t, 'salvage', await holdfast(['salvage', file]), /format version 7/)
  t.equal(hashOf(file), before)
})
