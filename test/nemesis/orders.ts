/** What a process of a node is told to suffer (obeys-orders.ts): in a file, and by a signal that it is there. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export type Order =
  /** The event loop of the main thread, or of each data worker, does not turn for so long. */
  | { what: 'block'; thread: 'main' | 'worker'; forMs: number }
  /** The wall clock of all threads is off by so much from now on. */
  | { what: 'wall'; thread: 'all'; offsetMs: number }

export const ORDER_SIGNAL = 'SIGUSR2'
/** Where the file is; what has obeyed is told beside it. */
export const ORDER_VARIABLE = 'NEMESIS_ORDER'
export const obeyedFile = (file: string): string => `${file}.obeyed`

const LOOK_MS = 50
const OBEYED_MS = 30_000

/** @returns what obeyed: `main`, `worker`, or both, when it is over */
export async function give(order: Order, file: string, pid: number): Promise<string[]> {
  const obeyed = obeyedFile(file)
  rmSync(obeyed, { force: true })
  writeFileSync(file, JSON.stringify(order))
  process.kill(pid, ORDER_SIGNAL)
  const threads = order.thread === 'all' ? ['main', 'worker'] : [order.thread]
  for (const untilMs = performance.now() + OBEYED_MS; performance.now() < untilMs; await sleep(LOOK_MS)) {
    const said = existsSync(obeyed) ? readFileSync(obeyed, 'utf8').trim().split('\n') : []
    if (threads.every((thread) => said.includes(thread))) return said
  }
  throw new Error(`process ${pid} does not obey ${JSON.stringify(order)}`)
}
