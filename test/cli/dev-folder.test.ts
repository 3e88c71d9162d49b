/** What a dev folder was made as is what it resumes as; anything else is refused in words. */
import t from 'tap'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { devShape, isLone, keepShape, parseNodes } from '../../cli/dev-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const URL = 'http://127.0.0.1:2379'
const NOTHING = { nodes: undefined, store: undefined }

t.test('how many nodes', async (t) => {
  t.same([undefined, '1', '9'].map(parseNodes), [undefined, 1, 9])
  for (const text of ['0', '10', '-1', 'x', '1.5', '']) t.throws(() => parseNodes(text), { code: 'usage' }, text)
})

t.test('a new folder', async (t) => {
  const dir = temporaryFolder(t)
  t.same(devShape(dir, NOTHING), { nodes: 3, store: 'own' })
  t.same(devShape(dir, { nodes: 1, store: undefined }), { nodes: 1, store: 'none' })
  t.same(devShape(dir, { nodes: undefined, store: URL }), { nodes: 3, store: { url: URL } })
  t.same(devShape(dir, { nodes: 2, store: URL }), { nodes: 2, store: { url: URL } })
})

t.test('a folder of one node by itself', async (t) => {
  const dir = temporaryFolder(t)
  mkdirSync(path.join(dir, 'n1'))
  keepShape(dir, { nodes: 1, store: 'none' })
  const shape = devShape(dir, NOTHING)
  t.same(shape, { nodes: 1, store: 'none' })
  t.same([isLone(dir, NOTHING, shape), isLone(dir, { nodes: 1, store: undefined }, shape)], [true, false])
  t.throws(() => devShape(dir, { nodes: 3, store: undefined }), { message: /was made with 1 node, not with 3 nodes/ })
  t.throws(() => devShape(dir, { nodes: 1, store: URL }), { message: /was made without a cluster store/ })
})

t.test('a folder of a cluster', async (t) => {
  const dir = temporaryFolder(t)
  keepShape(dir, { nodes: 3, store: 'own' })
  t.same(devShape(dir, NOTHING), { nodes: 3, store: 'own' })
  t.same(devShape(dir, { nodes: 3, store: undefined }), { nodes: 3, store: 'own' })
  t.throws(() => devShape(dir, { nodes: 1, store: undefined }), { message: /was made with 3 nodes, not with 1 node;/ })
  t.throws(() => devShape(dir, { nodes: 3, store: URL }), { message: /has a cluster store of its own/ })
})

t.test('a folder of a cluster whose store is somebody else\'s', async (t) => {
  const dir = temporaryFolder(t)
  keepShape(dir, { nodes: 2, store: { url: URL } })
  t.same(devShape(dir, NOTHING), { nodes: 2, store: { url: URL } })
  const moved = 'http://127.0.0.1:2380'
  t.same(devShape(dir, { nodes: undefined, store: moved }), { nodes: 2, store: { url: moved } }, 'it may have moved')
})

t.test('a folder with TLS stays one', async (t) => {
  const dir = temporaryFolder(t)
  t.same(devShape(dir, { ...NOTHING, tls: true }), { nodes: 3, store: 'own', tls: true })
  t.throws(() => devShape(dir, { nodes: 1, store: undefined, tls: true }), { message: /--tls is for several nodes/ })
  t.throws(() => devShape(dir, { nodes: 3, store: URL, tls: true }), { message: /a store of their own/ })
  keepShape(dir, { nodes: 3, store: 'own', tls: true })
  t.same(devShape(dir, NOTHING), { nodes: 3, store: 'own', tls: true })
  const plain = temporaryFolder(t)
  keepShape(plain, { nodes: 3, store: 'own' })
  t.throws(() => devShape(plain, { ...NOTHING, tls: true }), { message: /was made without TLS/ })
})
