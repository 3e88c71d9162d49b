/**
 * Appends and their answers between two threads over loopback TCP: n1 keeps `depth` appends under way, n2 answers each
 * with `stored` in the turn in which it came. No store, no core: what the transport itself takes. Both threads share
 * the machine, so a core each is needed for the figures to mean anything. `node bench/micro/peer-loopback.ts`.
 */
import { randomBytes } from 'node:crypto'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { crc32c } from '../../dataplane/checksum.ts'
import { clock } from '../../dataplane/clock.ts'
import { SlabPool } from '../../dataplane/slab-pool.ts'
import type { Delivery } from '../../dataplane/peer/delivery.ts'
import { PeerListener } from '../../dataplane/peer/listener.ts'
import type { WireMessage } from '../../dataplane/peer/message-codec.ts'
import { PeerTransport } from '../../dataplane/peer/transport.ts'
import { payloadOf } from '../../engine/volume/copy-headers.ts'

const VOLUME = '00112233445566778899aabbccddeeff'
const SECONDS = 3

const hex = (): string => randomBytes(16).toString('hex')

function transport(node: string, onMessage: (delivery: Delivery) => void, onUp: () => void): PeerTransport {
  return new PeerTransport({
    self: { clusterId: '0'.repeat(32), node, instance: hex(), worker: 0, role: 'worker' },
    clock,
    log: { event: (_, message, fields) => console.error(node, message, fields) },
    pool: new SlabPool(),
    rules: { mayConnect: () => undefined, mayReceive: () => undefined },
    random: Math.random,
    nonce: hex,
    onMessage,
    onUp,
  })
}

async function answering(): Promise<void> {
  const peers = transport('n2', (delivery) => {
    const { message } = delivery
    if (message.type !== 'append') return delivery.release()
    const { seq } = message.records.at(-1)!
    peers.send(delivery.from, VOLUME, { type: 'stored', epoch: 1, seq, durableSeq: seq })
    delivery.release()
  }, () => undefined)
  const onArrival = peers.accept.bind(peers)
  const listener = new PeerListener({ clock, log: peers.refusals, onArrival })
  const port = await listener.listenTcp({ host: '127.0.0.1', port: 0 })
  parentPort!.postMessage(port)
  parentPort!.once('message', () => {
    peers.close()
    void listener.close()
  })
}

async function asking(port: number): Promise<void> {
  for (const [blockCount, depth] of [[1, 1], [1, 32], [32, 32]] as const) {
    const payload = payloadOf(crc32c, new Uint8Array(blockCount * 4096).fill(7))
    let answered = 0
    let seq = 0
    const to = { node: 'n2', worker: 0 }
    const send = (): void => {
      seq++
      const record = { epoch: 1, seq, request: undefined, kind: 'write' as const, lba: seq, blockCount, payload }
      const append: WireMessage = {
        type: 'append', epoch: 1, previous: { epoch: 1, seq: seq - 1 }, records: [record], commitSeq: 0,
      }
      if (peers.send(to, VOLUME, append) !== 'queued') throw new Error('not taken')
    }
    let lanes = 0
    let onBoth = (): void => undefined
    const up = new Promise<void>((resolve) => (onBoth = resolve))
    const peers = transport('n1', (delivery) => {
      answered++
      delivery.release()
      send()
    }, () => {
      if (++lanes === 2) onBoth()
    })
    peers.setPeers([{ ...to, endpoint: { host: '127.0.0.1', port } }])
    await up
    for (let i = 0; i < depth; i++) send()
    await new Promise((resolve) => setTimeout(resolve, 500))
    const [from, cpu, begin] = [answered, process.cpuUsage(), performance.now()]
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000))
    const seconds = (performance.now() - begin) / 1000
    const count = answered - from
    const { user, system } = process.cpuUsage(cpu)
    const rate = count / seconds
    console.log(`append of ${blockCount} block(s), depth ${depth}`.padEnd(36)
      + `${Math.round(rate)} appends/s and as many answers, ${Math.round((rate * blockCount * 4096) / 1e6)} MB/s, `
      + `${((user + system) / count).toFixed(1)} us of both threads' CPU each`)
    peers.close()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

if (isMainThread) {
  const other = new Worker(new URL(import.meta.url), { workerData: 'answering' })
  const port = await new Promise<number>((resolve) => other.once('message', resolve))
  await asking(port)
  other.postMessage('end')
} else if (workerData === 'answering') await answering()
