/**
 * What a rebuild is measured against: a file is read, sent over loopback TCP to another process, and written there,
 * 1 MiB at a time and as fast as TCP takes it; then one fdatasync. Nothing is looked at, ordered or indexed.
 *
 * Started by itself, it is the receiver: it prints its port, takes one connection, and ends when the file is durable.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Scratch } from './scratch.ts'

const CHUNK_BYTES = 1 << 20

/** @returns seconds from the first byte read until all are durable at the other end */
export async function plainCopySeconds(scratch: Scratch, from: string, to: string): Promise<number> {
  const receiver = scratch.keep(
    spawn(process.execPath, [import.meta.filename, to], { stdio: ['ignore', 'pipe', 'inherit'] }),
  )
  const [port] = (await once(receiver.stdout!, 'data')) as [Buffer]
  const ended = once(receiver, 'exit') as Promise<[number | null]>
  const socket = net.connect({ host: '127.0.0.1', port: Number(port) })
  await once(socket, 'connect')
  const beganMs = performance.now()
  await pipeline(fs.createReadStream(from, { highWaterMark: CHUNK_BYTES }), socket)
  const [code] = await ended
  if (code !== 0) throw new Error(`the receiver of the plain copy ended with ${code}`)
  return (performance.now() - beganMs) / 1000
}

async function receive(to: string): Promise<void> {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.stdout.write(String((server.address() as net.AddressInfo).port))
  const [socket] = (await once(server, 'connection')) as [net.Socket]
  server.close()
  await pipeline(socket, fs.createWriteStream(to, { highWaterMark: CHUNK_BYTES }))
  const file = fs.openSync(to, 'r+')
  fs.fdatasyncSync(file)
  fs.closeSync(file)
}

if (process.argv[1] === import.meta.filename) await receive(process.argv[2]!)
