/**
 * The client's end of one NBD connection over a unix socket: fixed newstyle, GO, structured or simple replies, any
 * number of requests in flight. Shares no code with the server, so that a number both got wrong would show.
 */
import net from 'node:net'

export const READ = 0
export const WRITE = 1
const DISCONNECT = 2
export const FLUSH = 3
export const TRIM = 4
export const WRITE_ZEROES = 6
export const BLOCK_STATUS = 7
export const FUA = 1
/** Export unknown: a daemon that is about to end because its index is damaged may not know its volumes. */
const UNKNOWN = 2 ** 31 + 6
const SHUTDOWN = 2 ** 31 + 7
const OPTION_REPLY_MAGIC = 0x3e889045565a9n
const PAYLOAD_MAX = 64 * 2 ** 20
const OPTION_REPLY_MAX = 64 * 1024
const OPTION_REPLIES_MAX = 1024
/** Of one read; what ours send is far larger each. */
const CHUNKS_MAX = 65_536

export interface Request {
  type: number
  flags?: number
  offset?: number
  length?: number
  data?: Buffer
}

/**
 * `errno` 0 and what was read (of a block status its descriptors: u32 length, u32 flags each), an error of the
 * server's, or 'closed': what became of it is unknown.
 */
export type Answer = { errno: number; data: Buffer } | 'closed'

interface Pending {
  resolve: (answer: Answer) => void
  type: number
  offset: number
  data: Buffer
  /** What of `data` came, in order and apart from each other: offsets of begins and ends. */
  filled: Array<[from: number, to: number]>
  errno: number
}

const NOTHING = Buffer.alloc(0)

export class NbdConnection {
  sizeBytes = 0
  readonly closed: Promise<void>
  /** What the server did against the protocol. */
  problem: string | undefined
  readonly #socket: net.Socket
  readonly #pending = new Map<number, Pending>()
  #parts: Buffer[] = []
  #available = 0
  #wake: () => void = () => {}
  #cookie = 1
  #ended = false

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => {
      this.#parts.push(bytes)
      this.#available += bytes.length
      this.#wake()
    })
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#ended = true
        this.#wake()
        resolve()
      })
    })
  }

  /**
   * @param status  what is allocated is asked for, too; then replies are structured
   * @returns undefined when nobody listens or the connection ends before it is ready
   */
  static async open(
    path: string, name: string, structured: boolean, status = false,
  ): Promise<NbdConnection | undefined> {
    return NbdConnection.over(net.connect({ path }), name, structured, status)
  }

  /** The same over a connection that is there. */
  static async over(
    socket: net.Socket, name: string, structured: boolean, status = false,
  ): Promise<NbdConnection | undefined> {
    const connection = new NbdConnection(socket)
    try {
      await connection.#handshake(Buffer.from(name), structured || status, status)
    } catch (error) {
      connection.#socket.destroy()
      if ((error as Error).message === 'closed') return undefined
      throw error
    }
    void connection.#receive()
    return connection
  }

  get isOpen(): boolean {
    return !this.#ended
  }

  ask(request: Request): Promise<Answer> {
    const { type, flags = 0, offset = 0, data } = request
    const length = data?.length ?? request.length ?? 0
    if (this.#ended) return Promise.resolve('closed')
    const cookie = this.#cookie++
    const header = Buffer.alloc(28)
    header.writeUInt32BE(0x25609513, 0)
    header.writeUInt16BE(flags, 4)
    header.writeUInt16BE(type, 6)
    header.writeBigUInt64BE(BigInt(cookie), 8)
    header.writeBigUInt64BE(BigInt(offset), 16)
    header.writeUInt32BE(length, 24)
    this.#socket.cork()
    this.#socket.write(header)
    if (data !== undefined) this.#socket.write(data)
    this.#socket.uncork()
    return new Promise((resolve) => {
      const target = type === READ ? Buffer.allocUnsafe(length) : NOTHING
      this.#pending.set(cookie, { resolve, type, offset, data: target, filled: [], errno: 0 })
    })
  }

  /** In order: a client that has its answers says goodbye. */
  async disconnect(): Promise<void> {
    if (!this.#ended) void this.ask({ type: DISCONNECT })
    await this.closed
  }

  async #handshake(name: Buffer, structured: boolean, status: boolean): Promise<void> {
    const greeting = await this.#take(18)
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('this is no NBD server')
    this.#socket.write(Buffer.from([0, 0, 0, greeting.readUInt16BE(16) & 3]))
    if (structured && (await this.#option(8, NOTHING)) !== 1) throw new Error('structured replies were refused')
    if (status) {
      const query = Buffer.from('base:allocation')
      const data = Buffer.alloc(12 + name.length + query.length)
      data.writeUInt32BE(name.length, 0)
      name.copy(data, 4)
      data.writeUInt32BE(1, 4 + name.length)
      data.writeUInt32BE(query.length, 8 + name.length)
      query.copy(data, 12 + name.length)
      const reply = await this.#option(10, data)
      if (reply === SHUTDOWN || reply === UNKNOWN) throw new Error('closed')
      if (reply !== 1) throw new Error('block status was refused')
    }
    const info = Buffer.alloc(4 + name.length + 2)
    info.writeUInt32BE(name.length, 0)
    name.copy(info, 4)
    const reply = await this.#option(7, info)
    if (reply === SHUTDOWN || reply === UNKNOWN) throw new Error('closed')
    if (reply !== 1) throw new Error(`GO was refused with ${reply}`)
  }

  async #option(option: number, data: Buffer): Promise<number> {
    const header = Buffer.alloc(16)
    header.write('IHAVEOPT', 'latin1')
    header.writeUInt32BE(option, 8)
    header.writeUInt32BE(data.length, 12)
    this.#socket.write(Buffer.concat([header, data]))
    for (let replies = 0; replies < OPTION_REPLIES_MAX; replies++) {
      const reply = await this.#take(20)
      if (reply.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw new Error('a reply to an option is none')
      if (reply.readUInt32BE(8) !== option) throw new Error('a reply to an option that was not sent')
      const type = reply.readUInt32BE(12)
      const length = reply.readUInt32BE(16)
      if (length > OPTION_REPLY_MAX) throw new Error(`a reply of ${length} bytes to an option`)
      const body = await this.#take(length)
      if (type === 3) this.#learn(body)
      if (type === 1 || type >= 2 ** 31) return type
    }
    throw new Error('the replies to an option have no end')
  }

  #learn(info: Buffer): void {
    if (info.length < 2) throw new Error('an information that says nothing')
    if (info.readUInt16BE(0) !== 0) return
    const sizeBytes = info.length === 12 ? info.readBigUInt64BE(2) : 2n ** 63n
    if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error('an export of no size')
    this.sizeBytes = Number(sizeBytes)
  }

  async #receive(): Promise<void> {
    try {
      for (;;) {
        const magic = (await this.#take(4)).readUInt32BE(0)
        if (magic === 0x67446698) await this.#simple()
        else if (magic === 0x668e33ef) await this.#chunk()
        else throw new Error(`a reply begins with 0x${magic.toString(16)}`)
      }
    } catch (error) {
      const { message } = error as Error
      if (message !== 'closed') this.problem = message
      this.#socket.destroy()
    }
    await this.closed
    for (const { resolve } of this.#pending.values()) resolve('closed')
    this.#pending.clear()
  }

  #find(cookie: bigint): Pending {
    const pending = this.#pending.get(Number(cookie))
    if (pending === undefined) throw new Error(`a reply to request ${cookie}, which is not in flight`)
    return pending
  }

  async #simple(): Promise<void> {
    const head = await this.#take(12)
    const cookie = head.readBigUInt64BE(4)
    const pending = this.#find(cookie)
    const errno = head.readUInt32BE(0)
    if (pending.type === READ && errno === 0) {
      (await this.#take(pending.data.length)).copy(pending.data)
      pending.filled = [[0, pending.data.length]]
    }
    this.#finish(cookie, pending, errno)
  }

  async #chunk(): Promise<void> {
    const head = await this.#take(16)
    const flags = head.readUInt16BE(0)
    const type = head.readUInt16BE(2)
    const cookie = head.readBigUInt64BE(4)
    const pending = this.#find(cookie)
    const length = head.readUInt32BE(12)
    if (length > PAYLOAD_MAX || (type === 1 && length > 8 + pending.data.length))
      throw new Error(`a chunk of ${length} bytes`)
    const body = await this.#take(length)
    const least = type === 1 ? 8 : type === 2 ? 12 : type === 5 ? 4 : type > 2 ** 15 ? 6 : 0
    if (length < least) throw new Error(`a chunk of type ${type} with ${length} bytes`)
    if (type === 1) this.#fill(pending, body.readBigUInt64BE(0), body.subarray(8), length - 8)
    else if (type === 2) this.#fill(pending, body.readBigUInt64BE(0), undefined, body.readUInt32BE(8))
    else if (type === 5 && pending.type === BLOCK_STATUS) {
      if (length % 8 !== 4) throw new Error('a block status in part')
      pending.data = Buffer.from(body.subarray(4))
      pending.filled = [[0, pending.data.length]]
    } else if (type > 2 ** 15) pending.errno = body.readUInt32BE(0)
    else if (type !== 0) throw new Error(`a chunk of unknown type ${type}`)
    if ((flags & 1) !== 0) this.#finish(cookie, pending, pending.errno)
  }

  #fill(pending: Pending, offset: bigint, bytes: Buffer | undefined, length: number): void {
    const at = Number(offset) - pending.offset
    if (pending.type !== READ || !(at >= 0 && at + length <= pending.data.length))
      throw new Error('a chunk out of place')
    // Told twice is missing elsewhere, where memory would be read that was never written.
    const { filled } = pending
    const next = filled.findIndex(([from]) => from >= at)
    const index = next < 0 ? filled.length : next
    const before = filled[index - 1]
    if ((before?.[1] ?? 0) > at || (filled[index]?.[0] ?? Infinity) < at + length) throw new Error('a chunk came twice')
    if (before?.[1] === at) before[1] += length
    else if (length > 0) filled.splice(index, 0, [at, at + length])
    if (filled.length > CHUNKS_MAX) throw new Error('a read was answered in too many pieces')
    if (bytes === undefined) pending.data.fill(0, at, at + length)
    else bytes.copy(pending.data, at)
  }

  #finish(cookie: bigint, pending: Pending, errno: number): void {
    const bytes = pending.filled.reduce((sum, [from, to]) => sum + to - from, 0)
    if (errno === 0 && bytes !== pending.data.length) throw new Error('a read was answered in part')
    this.#pending.delete(Number(cookie))
    pending.resolve({ errno, data: pending.data })
  }

  async #take(bytes: number): Promise<Buffer> {
    while (this.#available < bytes) {
      if (this.#ended) throw new Error('closed')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#available -= bytes
    const first = this.#parts[0] ?? NOTHING
    if (first.length > bytes) {
      this.#parts[0] = first.subarray(bytes)
      return first.subarray(0, bytes)
    }
    const taken: Buffer[] = []
    for (let left = bytes; left > 0;) {
      const part = this.#parts[0]!
      taken.push(part.subarray(0, left))
      if (part.length > left) this.#parts[0] = part.subarray(left)
      else this.#parts.shift()
      left -= Math.min(left, part.length)
    }
    return taken.length === 1 ? taken[0]! : Buffer.concat(taken)
  }
}
