/**
 * Loaded into every process of a node before anything else (`--import`, inherited by what it starts): whatever
 * connects to an address over TCP is connected to the switchboard of its node instead, and says first where it wanted
 * to go. So the network between nodes has faults, and nothing of the product knows of it.
 */
import net from 'node:net'
import type { Socket } from 'node:net'
import { TARGET_BYTES } from './switchboard-words.ts'

const switchboard = process.env.NEMESIS_SWITCHBOARD

type Connect = (this: Socket, ...words: unknown[]) => Socket
type Target = { host?: string; port?: number | string }

/** `connect(options, callback)`, or the one array that `net.connect` makes of what it is given. */
function wordsOf(words: unknown[]): { target: Target; connected: unknown } {
  const [first, connected] = Array.isArray(words[0]) ? (words[0] as unknown[]) : words
  return { target: typeof first === 'object' && first !== null ? (first as Target) : {}, connected }
}

if (switchboard !== undefined) {
  const prototype = net.Socket.prototype as unknown as { connect: Connect }
  const { connect } = prototype
  prototype.connect = function (...words) {
    const { target: { host, port }, connected } = wordsOf(words)
    if (port === undefined) return connect.apply(this, words)
    connect.call(this, { path: switchboard })
    // It waits for the connection, before whatever its owner writes.
    this.write(`${host}:${port}`.padEnd(TARGET_BYTES))
    if (typeof connected === 'function') this.once('connect', connected as () => void)
    return this
  }
}
