/** Risk: a client over TLS is refused what it may ask, gets what it may not, or is kept when the node stops. */
import net from 'node:net'
import { connect } from 'node:tls'
import type { SecureContextOptions } from 'node:tls'
import t from 'tap'
import type { Test } from 'tap'
import { AskedExports, answerExports } from '../../../dataplane/nbd/export-calls.ts'
import { NbdListener } from '../../../dataplane/nbd/listener.ts'
import type { ExportDirectory, ExportInfo, NbdSession } from '../../../dataplane/nbd/listener.ts'
import { encodeInfoRequest, encodeOption } from '../../../dataplane/nbd/option-data.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { closeFd, hasHungUp } from '../../../cluster/libc.ts'
import { SecureNbd } from '../../../dataplane/nbd/secure-nbd.ts'
import type { SecureSession } from '../../../dataplane/session-table.ts'
import { TestCa } from '../../cluster/tls/certificates.ts'
import { RawClient } from './raw-client.ts'

const HOST = '127.0.0.1'

/** `locked` cannot be opened, `elsewhere` is another worker's. */
function directoryOf(names: string[]): ExportDirectory {
  const infos = names.map((name): ExportInfo => ({
    name, sizeBytes: 1 << 20, blockSizeBytes: 4096, readOnly: false, description: '',
    worker: name === 'elsewhere' ? 1 : 0,
  }))
  return {
    list: () => infos,
    whyNot: (node) => (node === 'gone' ? 'it was removed' : undefined),
    find: (name) => (name === 'locked' ? { refused: 'no key' } : infos.find((info) => info.name === name)),
  }
}

async function serve(t: Test, names: string[]) {
  const ca = new TestCa(t)
  const [refused, ended]: [string[], number[]] = [[], []]
  const sessions: SecureSession[] = []
  const elsewhere: NbdSession[] = []
  const answer = answerExports(directoryOf(names), (one) => exports.answered(one), (error) => t.fail(String(error)))
  const exports = new AskedExports((ask) => answer(ask))
  const nbd = new SecureNbd({
    folder: ca.folder({ role: 'node', name: 'n1' }), worker: 0, exports,
    sessions: { addSecure: (session) => sessions.push(session), count: () => 0 },
    onElsewhere: (session) => elsewhere.push(session),
    onEnded: (id) => ended.push(id),
    onRefused: (reason) => refused.push(reason),
  })
  const listener = new NbdListener({
    exports: directoryOf([]), onSession: () => t.fail('not without TLS'), onSecure: (arrival) => nbd.accept(arrival),
  })
  const port = await listener.listenSecurely({ host: HOST, port: 0 })
  t.teardown(() => {
    nbd.close()
    for (const { socket } of sessions) socket.destroy()
    return listener.close()
  })
  const alice = ca.folder({ role: 'admin', name: 'alice' }).current.options()
  const open = async (shown: SecureContextOptions = alice): Promise<RawClient> => {
    const socket = net.connect({ port, host: HOST })
    const plain = new RawClient(socket)
    await plain.greet()
    await plain.option(P.NBD_OPT_STARTTLS)
    return new RawClient(connect({ ...shown, socket, checkServerIdentity: () => undefined }))
  }
  const ask = async (client: RawClient, option: number, name: string): Promise<number> =>
    (await client.option(option, encodeInfoRequest(Buffer.from(name), []))).at(-1)!.type
  return { ca, open, ask, refused, ended, sessions, elsewhere, nbd }
}

t.test('one connection lists forty exports, asks of each, and enters one', async (t) => {
  const names = Array.from({ length: 40 }, (_, at) => `v${at}`)
  const { open, ask, refused, sessions } = await serve(t, names)
  const client = await open()
  t.equal((await client.option(P.NBD_OPT_LIST)).length, 41)
  for (const name of names) t.equal(await ask(client, P.NBD_OPT_INFO, name), P.NBD_REP_ACK, name)
  t.equal(await ask(client, P.NBD_OPT_GO, 'v39'), P.NBD_REP_ACK)
  t.same(sessions.map(({ exportName }) => exportName), ['v39'])
  t.same(refused, [])
  client.close()
})

t.test('what is listed and cannot be used is refused; of what is not listed few may be asked', async (t) => {
  const { open, ask, refused, sessions } = await serve(t, ['v', 'locked'])
  const client = await open()
  for (const option of [P.NBD_OPT_INFO, P.NBD_OPT_GO]) {
    t.equal(await ask(client, option, 'locked'), P.NBD_REP_ERR_POLICY)
  }
  for (let at = 0; at < 16; at++) t.equal(await ask(client, P.NBD_OPT_INFO, `no${at}`), P.NBD_REP_ERR_UNKNOWN)
  await t.rejects(ask(client, P.NBD_OPT_INFO, 'no16'))
  t.same(refused, ['admin alice: too many exports'])
  t.same(sessions, [])
})

t.test('a stop ends who is still asking, at once, and no session', async (t) => {
  const { open, ask, refused, ended, sessions, nbd } = await serve(t, ['v'])
  const [asking, using] = [await open(), await open()]
  t.equal(await ask(asking, P.NBD_OPT_INFO, 'v'), P.NBD_REP_ACK)
  t.equal(await ask(using, P.NBD_OPT_GO, 'v'), P.NBD_REP_ACK)
  nbd.close()
  await asking.ended()
  t.same(refused, [], 'no deadline has passed')
  t.equal(ended.length, 1)
  t.notOk(sessions[0]!.socket.destroyed)
  using.close()
})

t.test('a session of another worker is relayed, and ends with either side', async (t) => {
  const { open, ask, ended, sessions, elsewhere } = await serve(t, ['elsewhere'])
  const far = (session: NbdSession) => new net.Socket({ fd: session.fd, allowHalfOpen: true })
  const enter = async () => {
    const client = await open()
    t.equal(await ask(client, P.NBD_OPT_GO, 'elsewhere'), P.NBD_REP_ACK)
    const session = elsewhere.at(-1)!
    return { client, session, served: far(session) }
  }
  const first = await enter()
  t.match(first.session, { exportName: 'elsewhere', worker: 1 })
  const big = Buffer.alloc(4 << 20, 7)
  let got = 0
  const all = new Promise<void>((resolve) => first.served.on('data', (bytes) => {
    got += bytes.length
    if (got === big.length) resolve()
  }))
  first.client.socket.write(big)
  await all
  first.served.write(big)
  t.ok((await first.client.take(big.length)).equals(big), 'both ways')
  t.notOk(hasHungUp(first.session.clientFd!, true))
  first.served.end()
  await first.client.ended()
  first.served.destroy()
  closeFd(first.session.clientFd!)

  const second = await enter()
  // Nobody reads it, so this worker cannot pass it all on; the kernel tells the other one all the same.
  second.served.pause()
  await new Promise((resolve) => second.client.socket.write(Buffer.alloc(600 << 10), resolve))
  second.client.close()
  while (!hasHungUp(second.session.clientFd!, true)) await new Promise((resolve) => setTimeout(resolve, 1))
  t.pass('that the client has gone')
  second.served.resume()
  await new Promise((resolve) => second.served.on('close', resolve).on('end', () => second.served.destroy()))
  closeFd(second.session.clientFd!)
  t.same([sessions, ended], [[], []], 'whoever serves it says when it ended')
})

t.test('lists that were asked for in one piece come one after the other, and the session behind them', async (t) => {
  const { open, refused, sessions } = await serve(t, Array.from({ length: 4000 }, (_, at) => `v${at}`))
  const client = await open()
  const go = encodeOption(P.NBD_OPT_GO, encodeInfoRequest(Buffer.from('v7'), []))
  client.socket.write(Buffer.concat([...Array.from({ length: 10 }, () => encodeOption(P.NBD_OPT_LIST)), go]))
  for (let at = 0; at < 10; at++) t.equal((await client.optionReplies()).length, 4001)
  t.equal((await client.optionReplies()).at(-1)!.type, P.NBD_REP_ACK)
  t.same(sessions.map(({ exportName }) => exportName), ['v7'])
  t.same(refused, [])
  client.close()
})

t.test('a node that was removed sees no export, others do', async (t) => {
  const { ca, open, ask, refused } = await serve(t, ['v'])
  const as = (role: 'node' | 'csi', name: string) => open(ca.folder({ role, name }).current.options())
  await t.rejects((await as('node', 'gone')).option(P.NBD_OPT_LIST))
  t.match(refused.at(-1), /node gone: it was removed/)
  for (const client of [await as('node', 'n2'), await as('csi', 'gone')]) {
    t.equal(await ask(client, P.NBD_OPT_INFO, 'v'), P.NBD_REP_ACK)
    client.close()
  }
})
