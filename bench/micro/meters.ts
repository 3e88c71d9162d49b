/**
 * What counting costs a request. Alone: an observation, a request of one connection, a record of a copy that leads with
 * two others; prom-client's own histogram beside it. Then whole requests over a unix socket to a volume in memory (one
 * thread is client and server), with and without a meter, alternating: their ratio is what a user pays at most, as a
 * volume with a disk does more for each. All in processor time. `node bench/micro/meters.ts`, about 20 s.
 */
import os from 'node:os'
import path from 'node:path'
import fs from 'node:fs'
import { Histogram } from 'prom-client'
import { LATENCY_BOUNDS_MS } from '../../cluster/metrics/figures.ts'
import { clock } from '../../dataplane/clock.ts'
import { CopyMeter } from '../../dataplane/meters/copy-meter.ts'
import { LatencyHistogram } from '../../dataplane/meters/latency-histogram.ts'
import { RequestMeter } from '../../dataplane/meters/request-meter.ts'
import type { MeteredRequest } from '../../dataplane/meters/request-meter.ts'
import type { CopyState } from '../../engine/replication/copy-state.ts'
import { emptyWindow, forgetUpTo, pushRecord } from '../../engine/replication/record-window.ts'
import { MIB } from '../../engine/units.ts'
import { MemoryDevice } from '../../test/memory-device.ts'
import { MemoryServer } from '../../test/nbd-server.ts'
import { NbdConnection, WRITE } from '../../cli/load/nbd-connection.ts'

const ROUNDS = 7

const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!

function measure(name: string, count: number, run: () => void): void {
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const begin = process.cpuUsage()
    run()
    const { user, system } = process.cpuUsage(begin)
    times.push(((user + system) * 1000) / count)
  }
  console.log(`${name.padEnd(64)} ${middle(times).toFixed(0).padStart(5)} ns (best ${times[0]!.toFixed(0)})`)
}

const COUNT = 1_000_000
/** Mostly short, now and then long, as they are. */
const latencies = Array.from({ length: 1024 }, (_, i) => 0.05 * 1.5 ** (i % 13))

{
  const histogram = new LatencyHistogram()
  measure('an observation', COUNT, () => {
    for (let i = 0; i < COUNT; i++) histogram.observe(latencies[i & 1023]!)
  })
}
{
  const buckets = LATENCY_BOUNDS_MS.map((ms) => ms / 1000)
  const labelNames = ['volume', 'volume_id', 'operation']
  const histogram = new Histogram({ name: 'x_seconds', help: 'x', labelNames, buckets, registers: [] })
  const labels = { volume: 'data', volume_id: 'a'.repeat(32), operation: 'write' }
  measure('an observation by prom-client with three labels', COUNT / 10, () => {
    for (let i = 0; i < COUNT / 10; i++) histogram.observe(labels, latencies[i & 1023]! / 1000)
  })
}
{
  const meter = new RequestMeter(clock)
  const requests = Array.from({ length: 32 }, (): MeteredRequest => (
    { type: 1, lengthBytes: 4096, beganMs: 0, older: undefined, newer: undefined }))
  const ended: number[] = []
  measure('a request: begin, end, left; 32 in flight', COUNT, () => {
    for (let i = 0; i < COUNT / 32; i++) {
      meter.look()
      for (const request of requests) meter.begin(request)
      ended.length = 0
      for (const request of requests) ended.push(meter.end(request, false))
      meter.left(ended)
    }
  })
}
{
  const meter = new CopyMeter()
  const peers = new Map(['n2', 'n3'].map((node) => [node, { storedSeq: 0 }]))
  const primary = { epoch: 1, required: ['n2', 'n3'], peers }
  const log = { tail: 0, writtenSeq: 0, durableSeq: 0, commitSeq: 0, window: emptyWindow(1) }
  const promise = { epoch: 1 }
  const options = { mode: 'durable' }
  const state = { isRecovered: true, role: 'primary', primary, promise, log, options } as unknown as CopyState
  const request = { generation: 1, incarnation: 1, request: 1, part: 0, parts: 1, answeredBelow: 1 }
  meter.note(state, 0)
  const step = (isMetered: boolean): void => {
    for (let i = 0; i < 32; i++) {
      pushRecord(log.window, { epoch: 1, seq: ++log.tail, kind: 'zero', lba: 0, blockCount: 1, request })
    }
    if (isMetered) meter.note(state, clock.nowMs())
    log.durableSeq = log.tail
    if (isMetered) meter.note(state, clock.nowMs())
    for (const peer of peers.values()) peer.storedSeq = log.tail
    log.commitSeq = log.tail
    if (isMetered) meter.note(state, clock.nowMs())
    forgetUpTo(log.window, log.tail)
  }
  for (const isMetered of [false, true]) {
    measure(`a record of a copy with two others, 32 a turn${isMetered ? ', with its meter' : ''}`, COUNT, () => {
      for (let i = 0; i < COUNT / 32; i++) step(isMetered)
    })
  }
}

const REQUESTS = 20_000
const LANES = 32
const LOAD_ROUNDS = 21
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'holdfast-bench-'))

async function load(meter: RequestMeter | undefined): Promise<number> {
  const disk = new MemoryDevice({ sizeBytes: 64 * MIB, pace: 'turn' })
  const server = new MemoryServer({ devices: { disk }, ...(meter === undefined ? {} : { meter }) })
  const socketPath = path.join(folder, 'nbd.sock')
  await server.listener.listenUnix(socketPath)
  const connection = (await NbdConnection.open(socketPath, 'disk', true))!
  const data = Buffer.alloc(4096, 7)
  const ask = (count: number) => Promise.all(Array.from({ length: LANES }, async (_, lane) => {
    for (let i = lane; i < count; i += LANES) await connection.ask({ type: WRITE, offset: (i % 1024) * 4096, data })
  }))
  await ask(2048)
  const begin = process.cpuUsage()
  await ask(REQUESTS)
  const { user, system } = process.cpuUsage(begin)
  await connection.disconnect()
  await server.close()
  return (user + system) / REQUESTS
}

for (let i = 0; i < 3; i++) for (const meter of [undefined, new RequestMeter(clock)]) await load(meter)
const plain: number[] = []
const metered: number[] = []
const ratios: number[] = []
for (let round = 0; round < LOAD_ROUNDS; round++) {
  const both = round % 2 === 0
    ? [await load(undefined), await load(new RequestMeter(clock))]
    : [await load(new RequestMeter(clock)), await load(undefined)].reverse()
  plain.push(both[0]!)
  metered.push(both[1]!)
  ratios.push(both[1]! / both[0]!)
}
fs.rmSync(folder, { recursive: true, force: true })
console.log(`4 KiB writes over a unix socket, QD32, processor time: ${middle(plain).toFixed(1)} us without a meter, `
  + `${middle(metered).toFixed(1)} us with one; ratio ${middle(ratios).toFixed(3)} `
  + `(${ratios[0]!.toFixed(3)} to ${ratios.at(-1)!.toFixed(3)}, ${LOAD_ROUNDS} rounds)`)
