/**
 * Many clients of an NBD port with TLS, in a process of their own:
 *
 *   handshakes COUNT   each begins TLS, shows its certificate, and asks what exports there are; tried again when the
 *                      server has no place for it just then
 *   strangers COUNT    half of them say nothing, half say one byte of what may come before TLS a second; all stay until
 *                      they are closed, or this process is ended
 *
 * Words: MODE COUNT PORT FOLDER (with ca.crt, tls.crt, tls.key). One line of JSON when all are done, or all have been
 * begun; strangers: another one at each line that is read.
 */
import { readFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { connect } from 'node:tls'
import { encodeOption } from '../../dataplane/nbd/option-data.ts'
import * as P from '../../dataplane/nbd/protocol.ts'

const HOST = '127.0.0.1'
const GREETING_BYTES = 18
const REPLY_BYTES = 20
const RETRY_MS = 20
/** As a burst from elsewhere, but not faster than loopback takes them. */
const AT_ONCE = 200

const [mode, countText, portText, folder = ''] = process.argv.slice(2)
const [count, port] = [Number(countText), Number(portText)]

function bytesOf(socket: net.Socket, wanted: number): Promise<Buffer> {
  let got = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const onData = (bytes: Buffer): void => {
      got = Buffer.concat([got, bytes])
      if (got.length < wanted) return
      socket.off('data', onData)
      resolve(got)
    }
    socket.on('data', onData).on('close', () => reject(new Error('closed'))).on('error', reject)
  })
}

async function handshake(shown: { ca: Buffer; cert: Buffer; key: Buffer }): Promise<void> {
  const socket = net.connect({ port, host: HOST })
  try {
    await bytesOf(socket, GREETING_BYTES)
    const flags = Buffer.of(0, 0, 0, P.NBD_FLAG_C_FIXED_NEWSTYLE | P.NBD_FLAG_C_NO_ZEROES)
    const acknowledged = bytesOf(socket, REPLY_BYTES)
    socket.write(Buffer.concat([flags, encodeOption(P.NBD_OPT_STARTTLS)]))
    await acknowledged
    const secured = connect({ socket, ...shown, checkServerIdentity: () => undefined })
    const listed = bytesOf(secured, REPLY_BYTES)
    secured.write(encodeOption(P.NBD_OPT_LIST))
    await listed
    secured.destroy()
  } finally {
    socket.destroy()
  }
}

async function handshakes(): Promise<void> {
  const [ca, cert, key] = ['ca.crt', 'tls.crt', 'tls.key'].map((name) => readFileSync(path.join(folder, name)))
  const shown = { ca: ca!, cert: cert!, key: key! }
  const beganMs = performance.now()
  let tries = 0
  await Promise.all(Array.from({ length: count }, async () => {
    for (;;) {
      tries++
      const isDone = await handshake(shown).then(() => true, () => false)
      if (isDone) return
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS * (1 + Math.random())))
    }
  }))
  process.stdout.write(`${JSON.stringify({ done: count, tries, tookMs: performance.now() - beganMs })}\n`)
}

function strangers(): void {
  const tally = { begun: 0, open: 0, closed: 0, failed: 0 }
  const begin = (): void => {
    tally.begun++
    const isSlow = tally.begun % 2 === 0
    const socket = net.connect({ port, host: HOST })
    let timer: NodeJS.Timeout | undefined
    socket.on('connect', () => {
      tally.open++
      // No whole option, for as long as it is let.
      if (isSlow) timer = setInterval(() => socket.write(Buffer.of(0)), 1000)
    })
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code !== 'ECONNRESET' && code !== 'EPIPE') tally.failed++
    })
    socket.on('close', () => {
      clearInterval(timer)
      tally.closed++
      tally.open = Math.max(0, tally.open - 1)
    })
    socket.resume()
  }
  const more = (): void => {
    for (let i = 0; i < AT_ONCE && tally.begun < count; i++) begin()
    if (tally.begun < count) setTimeout(more, 20)
    else process.stdout.write(`${JSON.stringify(tally)}\n`)
  }
  process.stdin.on('data', () => process.stdout.write(`${JSON.stringify(tally)}\n`))
  more()
}

if (mode === 'handshakes') await handshakes()
else strangers()
