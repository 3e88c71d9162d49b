/**
 * Loaded into every process of a node before anything else (`--import`, inherited by what it starts and by its
 * threads): a signal tells the daemon that an order is there, and the threads it is for obey it (orders.ts). So event
 * loops stand still and wall clocks jump, and nothing of the product knows of it.
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { isMainThread, BroadcastChannel } from 'node:worker_threads'
import { ORDER_SIGNAL, ORDER_VARIABLE, obeyedFile } from './orders.ts'
import type { Order } from './orders.ts'

const file = process.env[ORDER_VARIABLE]
const thread = isMainThread ? 'main' : 'worker'

let offsetMs = 0

/** For `Date.now()`, `new Date()` and `Date()`; timers and the clock since boot go on as they were. */
function shiftWallClock(): void {
  const { now } = Date
  Date.now = () => now() + offsetMs
  globalThis.Date = new Proxy(Date, {
    construct: (target, words, made) =>
      Reflect.construct(target, words.length === 0 ? [Date.now()] : words, made) as Date,
    apply: () => new Date().toString(),
  })
}

function obey(order: Order): void {
  if (order.thread !== 'all' && order.thread !== thread) return
  // Other threads of the process go on, its thread pool does, and nothing uses a processor.
  if (order.what === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, order.forMs)
  else offsetMs = order.offsetMs
  appendFileSync(obeyedFile(file!), `${thread}\n`)
}

if (file !== undefined) {
  shiftWallClock()
  const channel = new BroadcastChannel(file)
  channel.unref()
  if (isMainThread) {
    process.on(ORDER_SIGNAL, () => {
      const order = JSON.parse(readFileSync(file, 'utf8')) as Order
      channel.postMessage(order)
      obey(order)
    })
  } else {
    channel.onmessage = (message) => obey((message as unknown as { data: Order }).data)
  }
}
