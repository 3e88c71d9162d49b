/**
 * How `holdfast dev kill|stop|start` reaches the running `holdfast dev`: DIR/dev.sock, one JSON line there, one back,
 * and before that a line for each thing that a start waits for.
 */
import { rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
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
type DevLine = DevAnswer | { waits: string }
type Tell = (sentence: string) => void
type Act = (request: DevRequest, tell: Tell) => Promise<DevState>

const REQUEST_BYTES_MAX = 4096

export const devSocketPath = (dir: string): string => path.join(path.resolve(dir), 'dev.sock')

async function answerTo(line: string, act: Act, tell: Tell): Promise<DevAnswer> {
  try {
    return { ok: true, value: await act(JSON.parse(line) as DevRequest, tell) }
  } catch (error) {
    if (error instanceof HoldfastError) return { ok: false, code: error.code, detail: error.detail }
    throw error
  }
}

/** Only the owner of the dev folder gets here: the folder is 0700. */
export function serveDevSocket(dir: string, act: Act): Promise<net.Server> {
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
      const say = (one: DevLine): string => `${JSON.stringify(one)}\n`
      void answerTo(line, act, (waits) => socket.write(say({ waits }))).then((answer) => socket.end(say(answer)))
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(socketPath, () => resolve(server))
  })
}

/** @param tell  gets what it waits for */
export async function askDev(dir: string, request: DevRequest, tell: Tell = () => undefined): Promise<DevState> {
  const socketPath = devSocketPath(dir)
  const socket = net.connect(socketPath)
  socket.write(`${JSON.stringify(request)}\n`)
  let answer: DevAnswer | undefined
  try {
    let rest = ''
    for await (const chunk of socket.setEncoding('utf8')) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        const said = JSON.parse(line) as DevLine
        if ('waits' in said) tell(said.waits)
        else answer = said
      }
    }
  } catch {
    answer = undefined
  }
  if (answer === undefined) {
    const reason = 'no `holdfast dev` runs in that folder'
    throw new HoldfastError('unreachable', { endpoint: socketPath, source: 'from --dir or its default', reason })
  }
  if (!answer.ok) throw new HoldfastError(answer.code, answer.detail)
  return answer.value
}
