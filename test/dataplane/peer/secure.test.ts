/**
 * Risk: over TLS somebody who is not that node of this cluster gets in, or is talked to; plain text is taken where TLS
 * is meant; strangers at the door keep peers from coming back; a rotation cuts what stands.
 */
import { once } from 'node:events'
import net from 'node:net'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import tls from 'node:tls'
import t from 'tap'
import type { Test } from 'tap'
import { answeringPreface, askingPreface, decodePreface, encodePreface } from '../../../dataplane/peer/preface.ts'
import type { Preface } from '../../../dataplane/peer/preface.ts'
import { PEER_PROTOCOL } from '../../../dataplane/peer/protocol.ts'
import { TestCa } from '../../cluster/tls/certificates.ts'
import { issueRaw } from '../../cluster/tls/raw-certificate.ts'
import { CLUSTER, Worker, hex, pair, sync, until } from './workers.ts'
import type { WorkerOptions } from './workers.ts'

const reasons = (worker: Worker): string => worker.events.map(({ fields }) => fields.reason).join(' | ')

interface Secrets {
  key?: string | Buffer | undefined
  cert?: string | Buffer | undefined
  ca: string
}

const asked = (wrong: Partial<Preface> = {}): Preface => {
  const self = { clusterId: CLUSTER, node: 'n3', instance: hex(), worker: 0, role: 'worker' as const }
  const to = { node: 'n2', worker: 0, lane: 'data' as const, nonce: hex(), windowBytes: 32 << 20 }
  return { ...askingPreface(self, to), ...wrong }
}

/** As many bytes as a preface has, or what came until the end. */
async function prefaceOf(socket: net.Socket): Promise<Preface | undefined> {
  let got = Buffer.alloc(0)
  const onData = (bytes: Buffer): void => void (got = Buffer.concat([got, bytes]))
  let isClosed = false
  socket.on('data', onData).on('close', () => (isClosed = true))
  await until(() => got.length >= 224 || isClosed || socket.destroyed)
  socket.off('data', onData)
  const preface = got.length >= 224 ? decodePreface(got.subarray(0, 224)) : undefined
  return typeof preface === 'object' ? preface : undefined
}

async function connected(worker: Worker): Promise<net.Socket> {
  const socket = net.connect(worker.endpoint as { host: string; port: number })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Somebody who does it by hand. @returns what was answered inside, undefined when it did not come so far */
async function come(
  worker: Worker, secrets: Secrets, wrong: { outer?: Partial<Preface>; inner?: Partial<Preface>; alpn?: string[] } = {},
): Promise<Preface | undefined> {
  const socket = await connected(worker)
  socket.write(encodePreface(asked({ wantsTls: true, ...wrong.outer })))
  const first = await prefaceOf(socket)
  if (first?.answer !== 'start-tls') return first
  const secured = tls.connect({
    socket, ...secrets, ALPNProtocols: wrong.alpn ?? [PEER_PROTOCOL], checkServerIdentity: () => undefined,
  })
  secured.on('error', () => undefined)
  secured.once('secureConnect', () => secured.write(encodePreface(asked(wrong.inner))))
  const answer = await prefaceOf(secured)
  secured.destroy()
  return answer
}

/** n1 and n2, who are up and stay so, whatever others do. */
async function securePair(t: Test, b: Partial<WorkerOptions> = {}): Promise<[Worker, Worker, TestCa]> {
  const ca = new TestCa(t, CLUSTER)
  const options = { a: { tls: ca.folder({ role: 'node', name: 'n1' }) } }
  const own = { tls: ca.folder({ role: 'node', name: 'n2' }) }
  const [n1, n2] = await pair(t, { ...options, b: { ...own, ...b }, tcp: true })
  return [n1, n2, ca]
}

const secretsOf = (ca: TestCa, name: string, role: 'node' | 'admin' = 'node'): Secrets => {
  const { key, cert, ca: of } = ca.folder({ role, name }).current.options()
  return { key: key as string, cert: cert as string, ca: of as string }
}

t.test('what is said arrives, both ways and in order', async (t) => {
  const [n1, n2] = await securePair(t)
  for (let seq = 1; seq <= 300; seq++) n1.send(n2, sync(seq))
  n2.send(n1, sync(7))
  await until(() => n2.messages('sync').length === 300 && n1.messages('sync').length === 1)
  const seqs = n2.messages('sync').map((message) => (message as { seq: number }).seq)
  t.same(seqs, Array.from({ length: 300 }, (_, i) => i + 1))
  t.same([n1.downs, n2.downs], [[], []])
})

t.test('plain text and TLS do not meet, either way', async (t) => {
  const [, n2, ca] = await securePair(t)
  const socket = await connected(n2)
  socket.write(encodePreface(asked()))
  t.equal((await prefaceOf(socket))?.answer, 'tls-required')
  await until(() => socket.destroyed || socket.readableEnded)
  t.match(reasons(n2), /it speaks plain text, and this node TLS only/)

  const plain = await Worker.start(t, { node: 'n4', tcp: true })
  const n5 = await Worker.start(t, { node: 'n5', tcp: true, tls: ca.folder({ role: 'node', name: 'n5' }) })
  n5.transport.setPeers([plain.address])
  plain.transport.setPeers([{ node: 'n5', worker: 0 }])
  await until(() => reasons(n5).includes('refused: no-tls'))
  t.match(reasons(plain), /it speaks TLS, and this node plain text only/)
  t.same([n5.ups, plain.ups], [[], []])
})

t.test('no answer in plain text makes a node with certificates talk in plain text', async (t) => {
  const ca = new TestCa(t, CLUSTER)
  const heard: Buffer[] = []
  const liar = net.createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (bytes) => {
      heard.push(bytes)
      const preface = decodePreface(bytes)
      if (typeof preface === 'string') return
      const self = { clusterId: CLUSTER, node: 'n1', instance: hex(), worker: 0, role: 'worker' as const }
      const own = { nonce: hex(), windowBytes: 32 << 20, answer: 'accepted' as const }
      socket.write(encodePreface(answeringPreface(self, preface, own)))
    })
  }).listen(0, '127.0.0.1')
  await once(liar, 'listening')
  t.teardown(() => liar.close())
  const n2 = await Worker.start(t, { node: 'n2', tcp: true, tls: ca.folder({ role: 'node', name: 'n2' }) })
  const { port } = liar.address() as net.AddressInfo
  n2.transport.setPeers([{ node: 'n1', worker: 0, endpoint: { host: '127.0.0.1', port } }])
  await until(() => reasons(n2).includes('it would talk in plain text'))
  n2.transport.close()
  t.ok(heard.every((bytes) => bytes.length === 224), 'prefaces, and nothing else')
  t.same(n2.ups, [])
})

t.test('who is let in', async (t) => {
  const [n1, n2, ca] = await securePair(t)
  const good = secretsOf(ca, 'n3')
  t.equal((await come(n2, good))?.answer, 'accepted', 'who is a node of the cluster')
  const other = secretsOf(new TestCa(t, CLUSTER), 'n3')
  const ofNode = `holdfast://cluster/${CLUSTER}/node/n3`
  const raw = (wish: Parameters<typeof issueRaw>[1]): Secrets => {
    const { key, certificate } = issueRaw(ca.dir, wish)
    return { key, cert: certificate, ca: good.ca }
  }
  const cases: ReadonlyArray<[string, Secrets, Parameters<typeof come>[2], RegExp]> = [
    ['no certificate', { ca: good.ca }, {}, /it showed no certificate/],
    ['another CA of the same cluster id', { ...other, ca: good.ca }, {}, /CA that is not known here/],
    ['expired', raw({ uri: ofNode, expired: true }), {}, /has expired/],
    ['for servers only', raw({ uri: ofNode, purposes: ['serverAuth'] }), {}, /for another purpose/],
    ['another cluster', raw({ uri: `holdfast://cluster/${'0'.repeat(32)}/node/n3` }), {}, /is for cluster 0000/],
    ['nobody', raw({ dns: ['n3'] }), {}, /has 0 names of the form/],
    ['two at once', raw({ uri: `${ofNode}, URI:${ofNode}` }), {}, /needs quotes|has \d names/],
    ['a user', secretsOf(ca, 'somebody', 'admin'), {}, /is for admin somebody, not for a node/],
    ['n3 that says it is n1', good, { inner: { node: 'n1' } }, /says that it is node n1, its cert/],
    ['another protocol', good, { alpn: ['h2'] }, /another protocol/],
  ]
  for (const [who, secrets, wrong, why] of cases) {
    n2.events.length = 0
    t.equal((await come(n2, secrets, wrong))?.answer, undefined, who)
    await until(() => n2.events.length > 0)
    t.match(reasons(n2), why, who)
  }
  t.equal((await come(n2, good, { inner: { clusterId: 'f'.repeat(32) } }))?.answer, 'cluster')
  t.equal((await come(n2, good, { outer: { toWorker: 3 } }))?.answer, 'not-me')
  t.equal((await come(n2, good, { outer: { node: 'n1' } }))?.answer, 'accepted', 'the plain preface is not believed')
  t.equal((await come(n2, good, { inner: { wantsTls: true } }))?.answer, 'no-tls', 'TLS in TLS is none')
  t.same([n1.downs, n2.downs], [[], []], 'nobody noticed')
})

t.test('whom a node talks to', async (t) => {
  const ca = new TestCa(t, CLUSTER)
  const n1 = await Worker.start(t, { node: 'n1', tcp: true, tls: ca.folder({ role: 'node', name: 'n1' }) })
  const others: ReadonlyArray<[string, TestCa, string, RegExp]> = [
    ['n2', new TestCa(t, CLUSTER), 'n2', /CA that is not known here/],
    ['n3', ca, 'n4', /its certificate is for node n4, not for node n3/],
  ]
  for (const [node, of, name, why] of others) {
    const other = await Worker.start(t, { node, tcp: true, tls: of.folder({ role: 'node', name }) })
    n1.transport.setPeers([other.address])
    await until(() => why.test(reasons(n1)))
    t.pass(node)
    t.same(other.ups, [])
  }
  t.same(n1.ups, [])
})

t.test('who only opens a handshake keeps nobody out for long', async (t) => {
  const [n1, n2, ca] = await securePair(t, { limits: { handshakeMs: 400, unprovenMax: 8 } })
  const open: net.Socket[] = []
  t.teardown(() => open.forEach((socket) => socket.destroy()))
  for (let i = 0; i < 20; i++) {
    const socket = await connected(n2)
    socket.resume().write(encodePreface(asked({ wantsTls: true })))
    open.push(socket)
  }
  await until(() => reasons(n2).includes('too many handshakes at once'))
  const good = secretsOf(ca, 'n3')
  await until(() => reasons(n2).includes('the handshake took too long'))
  await until(() => open.every((socket) => socket.destroyed || socket.readableEnded))
  t.equal((await come(n2, good))?.answer, 'accepted')
  // One that shakes hands and then says nothing.
  const socket = await connected(n2)
  socket.write(encodePreface(asked({ wantsTls: true })))
  await prefaceOf(socket)
  const secured = tls.connect({
    socket, ...good, ALPNProtocols: [PEER_PROTOCOL], checkServerIdentity: () => undefined,
  })
  secured.on('error', () => undefined)
  await until(() => reasons(n2).includes('no preface in time'))
  t.same([n1.downs, n2.downs], [[], []])
})

t.test('files are replaced while connections stand', async (t) => {
  const [n1, n2, ca] = await securePair(t)
  const n3 = await Worker.start(t, { node: 'n3', tcp: true, tls: ca.folder({ role: 'node', name: 'n3' }) })
  const next = new TestCa(t, CLUSTER)
  const folder = ca.issue({ role: 'node', name: 'n2' })
  // Both CAs are believed while one takes over.
  const both = [ca, next].map(({ dir }) => path.join(dir, 'ca.crt'))
  const bundle = both.map((file) => readFileSync(file, 'utf8')).join('')
  next.issue({ role: 'node', name: 'n2', out: folder })
  writeFileSync(path.join(folder, 'ca.crt'), bundle)
  writeFileSync(path.join(ca.dir, 'node-n3', 'ca.crt'), bundle)
  await new Promise((resolve) => setTimeout(resolve, 1100))
  n3.transport.setPeers([n2.address])
  n2.transport.setPeers([{ node: 'n1', worker: 0 }, { node: 'n3', worker: 0 }])
  await until(() => n3.isUp(n2) && n2.isUp(n3))
  t.same([n1.downs, n2.downs], [[], []], 'what stands stays')
  // A bad file changes nothing.
  writeFileSync(path.join(folder, 'tls.key'), 'nonsense')
  await new Promise((resolve) => setTimeout(resolve, 1100))
  const answer = await come(n2, secretsOf(next, 'n4'), { inner: { node: 'n4' } })
  t.equal(answer?.answer, 'accepted', 'as before')
})

t.test('200 connections at once, and those that stand go on', async (t) => {
  const [n1, n2, ca] = await securePair(t)
  const good = secretsOf(ca, 'n3')
  let longestMs = 0
  let isOver = false
  const chat = (async () => {
    for (let seq = 1; !isOver; seq++) {
      const beganMs = performance.now()
      n1.send(n2, sync(seq))
      await until(() => n2.messages('sync').length >= seq)
      longestMs = Math.max(longestMs, performance.now() - beganMs)
    }
  })()
  const beganMs = performance.now()
  const began = process.cpuUsage()
  let accepted = 0
  await Promise.all(Array.from({ length: 200 }, async () => {
    for (;;) {
      const answer = (await come(n2, good))?.answer
      if (answer === 'accepted') return void accepted++
      await new Promise((resolve) => setTimeout(resolve, 20 + 100 * Math.random()))
    }
  }))
  const tookMs = performance.now() - beganMs
  const { user, system } = process.cpuUsage(began)
  isOver = true
  await chat
  t.equal(accepted, 200)
  const [took, longest] = [tookMs, longestMs].map(Math.round)
  t.comment(`200 handshakes in ${took} ms, both ends in one thread; a message took ${longest} ms at most`)
  const cpuMs = (user + system) / 1000
  t.ok(cpuMs < 5000, `${Math.round(cpuMs)} ms of processor for both ends`)
  t.same([n1.downs, n2.downs], [[], []], 'no connection was lost')
})
