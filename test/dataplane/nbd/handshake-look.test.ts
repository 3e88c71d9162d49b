/**
 * Risk: an export that has to be looked for (a snapshot) is entered before it is found, its answer goes to the wrong
 * option, or what was opened for a client that goes away stays open.
 */
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { Handshake } from '../../../dataplane/nbd/handshake.ts'
import type { ExportInfo, Looked } from '../../../dataplane/nbd/handshake.ts'
import { NbdListener } from '../../../dataplane/nbd/listener.ts'
import type { NbdSession } from '../../../dataplane/nbd/listener.ts'
import { encodeInfoRequest, encodeMetaContextRequest, encodeOption } from '../../../dataplane/nbd/option-data.ts'
import * as P from '../../../dataplane/nbd/protocol.ts'
import { closeFd } from '../../../cluster/libc.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RawClient } from './raw-client.ts'

const disk: ExportInfo = {
  name: 'disk', sizeBytes: 2 ** 30, blockSizeBytes: 4096, readOnly: false, description: 'a disk', worker: 0,
}
const found: ExportInfo = { ...disk, name: 'disk@daily', sizeBytes: 2 ** 20, readOnly: true, reader: 9 }
const FLAGS = Buffer.from([0, 0, 0, 3])
const directory = { list: () => [disk], find: (name: string) => (name === 'disk' ? disk : undefined) }

const info = (option: number, name: string) => encodeOption(option, encodeInfoRequest(Buffer.from(name), []))
const context = (name: string) =>
  encodeOption(P.NBD_OPT_SET_META_CONTEXT, encodeMetaContextRequest(Buffer.from(name), ['base:allocation']))

const typesOf = (sent: Buffer[]): number[] => {
  const all = Buffer.concat(sent)
  const types: number[] = []
  for (let at = 0; at < all.length; at += 20 + all.readUInt32BE(at + 16)) types.push(all.readUInt32BE(at + 12))
  return types
}

const looking = () => {
  const handshake = new Handshake(directory, () => 'enter', (name) => name.includes('@'))
  handshake.feed(Buffer.concat([FLAGS, encodeOption(P.NBD_OPT_STRUCTURED_REPLY)]))
  return handshake
}

t.test('the option waits, what comes behind it too, and both go on', (t) => {
  const handshake = looking()
  const asked = handshake.feed(context('disk@daily'))
  t.match(asked, { look: 'disk@daily', event: undefined })
  t.same(asked.send, [])
  t.ok(handshake.isWaiting)
  t.ok(handshake.keep(info(P.NBD_OPT_GO, 'disk@daily')))
  const { send, event, look } = handshake.looked(found)
  t.same(typesOf(send), [P.NBD_REP_META_CONTEXT, P.NBD_REP_ACK, P.NBD_REP_INFO, P.NBD_REP_ACK])
  t.equal(look, undefined, 'it is looked for once')
  t.match(event, { type: 'transmission', export: found, negotiated: { metaContexts: [P.BASE_ALLOCATION_ID] } })
  const flags = Buffer.concat(send).readUInt16BE(Buffer.concat(send).length - 20 - 2)
  t.ok((flags & P.NBD_FLAG_READ_ONLY) !== 0 && (flags & P.NBD_FLAG_CAN_MULTI_CONN) !== 0)
  t.end()
})

t.test('what is not there, or cannot be used now, is refused, and the next option is answered', (t) => {
  for (const [answer, type] of [
    [undefined, P.NBD_REP_ERR_UNKNOWN], [{ refused: 'nobody leads' }, P.NBD_REP_ERR_POLICY],
  ] as Array<[Looked, number]>) {
    const handshake = looking()
    handshake.feed(info(P.NBD_OPT_INFO, 'disk@none'))
    t.same(typesOf(handshake.looked(answer).send), [type])
    t.same(typesOf(handshake.feed(info(P.NBD_OPT_INFO, 'disk@none')).send), [type], 'known by now')
    t.match(handshake.feed(info(P.NBD_OPT_GO, 'disk')).event, { type: 'transmission' })
  }
  const closing = looking()
  closing.feed(encodeOption(P.NBD_OPT_EXPORT_NAME, Buffer.from('disk@none')))
  t.match(closing.looked(undefined).event, { type: 'closed', reason: 'no such export' })
  t.end()
})

t.test('a client does not look without end, nor send without end meanwhile', (t) => {
  const handshake = looking()
  for (let i = 0; i < 16; i++) {
    handshake.feed(info(P.NBD_OPT_INFO, `disk@${i}`))
    handshake.looked(undefined)
  }
  t.match(handshake.feed(info(P.NBD_OPT_INFO, 'disk@more')).event, { type: 'closed', reason: 'too many exports' })
  const flooded = looking()
  flooded.feed(info(P.NBD_OPT_INFO, 'disk@daily'))
  t.notOk(flooded.keep(Buffer.alloc(70_000)))
  t.end()
})

async function stand(t: Test) {
  const socketPath = path.join(temporaryFolder(t), 'nbd.sock')
  const dropped: number[] = []
  const entered: number[] = []
  const sessions: NbdSession[] = []
  const answers: Array<(found: Looked) => void> = []
  const listener = new NbdListener({
    exports: {
      ...directory,
      look: (name) => (name.includes('@') ? new Promise((resolve) => answers.push(resolve)) : undefined),
      drop: ({ reader }) => void dropped.push(reader!),
      entered: ({ reader }) => void entered.push(reader!),
    },
    onSession: (session) => {
      sessions.push(session)
      closeFd(session.fd)
      listener.sessionEnded(session.id)
    },
  })
  await listener.listenUnix(socketPath)
  t.teardown(() => listener.close())
  const asked = async () => {
    while (answers.length === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    return answers.shift()!
  }
  return { socketPath, dropped, entered, sessions, asked }
}

t.test('a session has what was opened for it', async (t) => {
  const { socketPath, dropped, entered, sessions, asked } = await stand(t)
  const client = RawClient.open(socketPath, { name: 'disk@daily' })
  const answer = await asked()
  answer(found)
  ;(await client).close()
  while (sessions.length === 0) await new Promise((resolve) => setTimeout(resolve, 2))
  t.match(sessions, [{ exportName: 'disk@daily', reader: 9 }])
  t.same([entered, dropped], [[9], []])
})

t.test('a client that goes away while it is looked for leaves nothing open', async (t) => {
  const { socketPath, dropped, sessions, asked } = await stand(t)
  const socket = net.connect(socketPath)
  await once(socket, 'connect')
  socket.write(Buffer.concat([FLAGS, info(P.NBD_OPT_GO, 'disk@daily')]))
  const answer = await asked()
  socket.destroy()
  await once(socket, 'close')
  answer(found)
  while (dropped.length === 0) await new Promise((resolve) => setTimeout(resolve, 2))
  t.same([dropped, sessions], [[9], []])
})
