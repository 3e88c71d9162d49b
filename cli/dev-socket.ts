/**
 * How `holdfast dev kill|stop|start` reaches the running `holdfast dev`: DIR/dev.sock, one JSON line there, one back.
 */
import { rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { HoldfastError } from '../engine/errors.ts'
import type { Detail, ErrorCode } from '../engine/errors.ts'

export type DevWord = 'kill' | 'stop' | 'start'

export interface DevRequest {
  word: DevWord
  node: string
}

export interface DevState {
  node: string
  state: 'up' | 'down'
}

type DevAnswer = { ok: true; value: DevState } | { ok: false; code: ErrorCode; detail: Detail }

const REQUEST_BYTES_MAX = 4096

export const devSocketPath = (dir: string): string => path.join(path.resolve(dir), 'dev.sock')

async function answerTo(line: string, act: (request: DevRequest) => Promise<DevState>): Promise<DevAnswer> {
  try {
    return { ok: true, value: await act(JSON.parse(line) as DevRequest) }
  } catch (error) {
    if (error instanceof HoldfastError) return { ok: false, code: error.code, detail: error.detail }
    throw error
  }
}

/** Only the owner of the dev folder gets here: the folder is 0700. */
export function serveDevSocket(dir: string, act: (request: DevRequest) => Promise<DevState>): Promise<net.Server> {
  const socketPath = devSocketPath(dir)
  rmSync(socketPath, { force: true })
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    let line = ''
    socket.setEncoding('utf8')
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: string) => {
      line += chunk
      if (line.length > REQUEST_BYTES_MAX) return void socket.destroy()
      if (!line.endsWith('\n')) return
      void answerTo(line, act).then((answer) => socket.end(`${JSON.stringify(answer)}\n`))
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(socketPath, () => resolve(server))
  })
}

export async function askDev(dir: string, request: DevRequest): Promise<DevState> {
  const socketPath = devSocketPath(dir)
  const socket = net.connect(socketPath)
  socket.write(`${JSON.stringify(request)}\n`)
  let answer: DevAnswer
  try {
    answer = JSON.parse(await text(socket)) as DevAnswer
  } catch {
    const reason = 'no `holdfast dev` runs in that folder'
    throw new HoldfastError('unreachable', { endpoint: socketPath, source: 'from --dir or its default', reason })
  }
  if (!answer.ok) throw new HoldfastError(answer.code, answer.detail)
  return answer.value
}
