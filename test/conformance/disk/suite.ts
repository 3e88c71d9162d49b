/**
 * What every `DiskPort` must do, run on the simulated and on the real disk. The world is driven by `drive`: a virtual
 * clock runs until idle there, the real one just goes on.
 */
import type { DiskPort } from '../../../engine/ports.ts'
import { Random } from '../../sim/random.ts'

type Test = typeof import('tap').default

export interface DiskUnderTest {
  disk: DiskPort
  drive(): void
  close(): Promise<void>
}

const BLOCK = 4096

/** A call's outcome; fails when `done` runs before the call returned, or twice, or after a write that returned true. */
export class DiskCalls {
  private readonly under: DiskUnderTest

  constructor(under: DiskUnderTest) {
    this.under = under
  }

  write(offsetBytes: number, ...buffers: Uint8Array[]): Promise<boolean> {
    return this.call((done) => this.under.disk.write(offsetBytes, buffers, done))
  }

  sync(): Promise<boolean> {
    return this.call((done) => this.under.disk.sync(done))
  }

  read(offsetBytes: number, into: Uint8Array): Promise<boolean> {
    return this.call((done) => this.under.disk.read(offsetBytes, into, done))
  }

  async readMedium(offsetBytes: number, into: Uint8Array): Promise<boolean> {
    return this.call((done) =>
      this.under.disk.readMedium(offsetBytes, into.length, (bytes) => {
        // The bytes are the port's again when this returns.
        if (bytes !== undefined) into.set(bytes)
        done(bytes?.length === into.length)
      }),
    )
  }

  private call(start: (done: (ok: boolean) => void) => boolean | void): Promise<boolean> {
    const promise = new Promise<boolean>((resolve, reject) => {
      let returned = false
      let ended = false
      const completed = start((ok) => {
        if (!returned) return reject(new Error('done ran before the call returned'))
        if (ended) throw new Error('done ran twice, or after a write that had completed')
        ended = true
        resolve(ok)
      })
      returned = true
      if (completed !== true) return
      ended = true
      resolve(true)
    })
    this.under.drive()
    return promise
  }
}

export function diskSuite(t: Test, name: string, make: (sizeBytes: number) => Promise<DiskUnderTest>): void {
  type Run = (t: Test, calls: DiskCalls, disk: DiskPort) => Promise<unknown>
  const onDisk = (title: string, sizeBytes: number, run: Run) =>
    t.test(`${name}: ${title}`, async (t) => {
      const under = await make(sizeBytes)
      try {
        await run(t as Test, new DiskCalls(under), under.disk)
      } finally {
        await under.close()
      }
    })

  onDisk('a new disk reads as zeroes and has the size asked for', 1 << 20, async (t, calls, disk) => {
    t.equal(disk.sizeBytes, 1 << 20)
    const into = new Uint8Array(1 << 20).fill(9)
    t.equal(await calls.read(0, into), true)
    t.ok(into.every((byte) => byte === 0))
  })

  onDisk('what was written is read, from memory and from the medium', 1 << 20, async (t, calls, disk) => {
    const random = new Random('suite')
    const buffers = [1, 3, 2].map((blocks) => random.bytes(new Uint8Array(blocks * BLOCK)))
    t.equal(await calls.write(5 * BLOCK, ...buffers), true)
    const wanted = Buffer.concat(buffers)
    const into = new Uint8Array(wanted.length)
    t.equal(await calls.read(5 * BLOCK, into), true)
    t.equal(Buffer.compare(into, wanted), 0)
    t.equal(await calls.sync(), true)
    const again = new Uint8Array(wanted.length)
    if (disk.tryRead(5 * BLOCK, again)) t.equal(Buffer.compare(again, wanted), 0, 'tryRead')
    again.fill(9)
    t.equal(await calls.readMedium(5 * BLOCK, again), true)
    t.equal(Buffer.compare(again, wanted), 0, 'readMedium')
    const around = new Uint8Array(BLOCK).fill(9)
    for (const offset of [4 * BLOCK, 11 * BLOCK]) {
      t.equal(await calls.read(offset, around), true)
      t.ok(around.every((byte) => byte === 0), 'the neighbours are untouched')
    }
  })

  onDisk('the last block is part of the disk, and a slice of a slab is written as such', 1 << 20, async (t, calls) => {
    const slab = new Random('slab').bytes(new Uint8Array(8 * BLOCK))
    const last = (1 << 20) - BLOCK
    t.equal(await calls.write(last, slab.subarray(3 * BLOCK, 4 * BLOCK)), true)
    const into = new Uint8Array(3 * BLOCK)
    t.equal(await calls.read(last, into.subarray(BLOCK, 2 * BLOCK)), true)
    t.equal(Buffer.compare(into.subarray(BLOCK, 2 * BLOCK), slab.subarray(3 * BLOCK, 4 * BLOCK)), 0)
    t.ok(into.subarray(0, BLOCK).every((byte) => byte === 0) && into.subarray(2 * BLOCK).every((byte) => byte === 0))
  })

  onDisk('16 MiB in one write, and more buffers than one system call takes', 32 << 20, async (t, calls) => {
    const slab = new Uint8Array(16 << 20)
    for (let at = 0; at < slab.length; at += 512) slab[at] = at / 512
    t.equal(await calls.write(0, slab), true)
    const blocks: Uint8Array[] = []
    for (let at = 0; at < 1100 * BLOCK; at += BLOCK) blocks.push(slab.subarray(at, at + BLOCK))
    t.equal(await calls.write(16 << 20, ...blocks), true)
    const into = new Uint8Array((16 << 20) + 1100 * BLOCK)
    t.equal(await calls.read(0, into), true)
    t.equal(Buffer.compare(into.subarray(0, 16 << 20), slab), 0)
    t.equal(Buffer.compare(into.subarray(16 << 20), slab.subarray(0, 1100 * BLOCK)), 0)
  })

  onDisk('many calls at a time all end, each with its own bytes', 4 << 20, async (t, calls) => {
    const random = new Random('parallel')
    const slab = random.bytes(new Uint8Array(4 << 20))
    const regions = random.shuffle(Array.from({ length: 64 }, (_, i) => i))
    const at = (i: number) => slab.subarray(i * 65536, (i + 1) * 65536)
    const outcomes = await Promise.all(
      regions.flatMap((i) => [calls.write(i * 65536, at(i).subarray(0, 4096), at(i).subarray(4096)), calls.sync()]),
    )
    t.ok(outcomes.every((ok) => ok))
    const into = new Uint8Array(4 << 20)
    const part = (i: number) => into.subarray(i * 65536, (i + 1) * 65536)
    for (const how of ['read', 'readMedium'] as const) {
      into.fill(0)
      const reads = await Promise.all(regions.map((i) => calls[how](i * 65536, part(i))))
      t.ok(reads.every((ok) => ok))
      t.equal(Buffer.compare(into, slab), 0, how)
    }
  })

  onDisk('random calls against an array', 1 << 20, async (t, calls, disk) => {
    const random = new Random('model')
    const model = new Uint8Array(1 << 20)
    for (let i = 0; i < 400; i++) {
      const blocks = random.between(1, 8)
      const offset = random.int(256 - blocks + 1) * BLOCK
      const bytes = new Uint8Array(blocks * BLOCK)
      if (random.chance(0.5)) {
        random.bytes(bytes.subarray(0, 64))
        bytes.fill(i, 64)
        const cut = random.int(blocks) * BLOCK
        const buffers = cut === 0 ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)]
        if (!(await calls.write(offset, ...buffers))) return t.fail('a write failed')
        model.set(bytes, offset)
      } else {
        if (!disk.tryRead(offset, bytes) && !(await calls.read(offset, bytes))) return t.fail('a read failed')
        if (Buffer.compare(bytes, model.subarray(offset, offset + bytes.length)) !== 0) return t.fail(`step ${i}`)
      }
      if (random.chance(0.1) && !(await calls.sync())) return t.fail('a sync failed')
    }
    return t.pass('400 steps agree')
  })

  onDisk('a caller beyond the bounds or off the grid is stopped', 1 << 20, async (t, _calls, disk) => {
    const block = new Uint8Array(BLOCK)
    const none = () => {}
    t.throws(() => disk.write(1 << 20, [block], none))
    t.throws(() => disk.write((1 << 20) - BLOCK, [block, block], none))
    t.throws(() => disk.write(-BLOCK, [block], none))
    t.throws(() => disk.write(512, [block], none))
    t.throws(() => disk.write(0, [new Uint8Array(512)], none))
    t.throws(() => disk.write(0, [new Uint8Array(100), new Uint8Array(3996)], none))
    t.throws(() => disk.write(0, [], none))
    t.throws(() => disk.read(1 << 20, block, none))
    t.throws(() => disk.read(0, new Uint8Array(100), none))
    t.throws(() => disk.tryRead(2080, block))
    t.throws(() => disk.readMedium(1 << 20, BLOCK, none))
    t.throws(() => disk.readMedium(512, BLOCK, none))
    t.throws(() => disk.tryRead(0.5, block))
  })
}

/**
 * The outcomes around one error, in words: used with the simulated disk and, under strace, with the real one. Writes
 * blocks 1 2 3, syncs, reads; the second call of the kind `failing` is the one that gets the error.
 */
export async function outcomesAround(under: DiskUnderTest): Promise<string[]> {
  const calls = new DiskCalls(under)
  const said: string[] = []
  const buffers = [1, 2, 3].map((fill) => new Uint8Array(BLOCK).fill(fill))
  for (let round = 1; round <= 2; round++) {
    said.push(`write ${await calls.write(round * 3 * BLOCK, ...buffers)}`)
    said.push(`sync ${await calls.sync()}`)
    said.push(`read ${await calls.read(round * 3 * BLOCK, new Uint8Array(3 * BLOCK))}`)
  }
  // What a retry would see: the kernel has forgotten the error by now.
  said.push(`write ${await calls.write(0, ...buffers)}`)
  said.push(`sync ${await calls.sync()}`)
  said.push(`read ${await calls.read(0, new Uint8Array(BLOCK))}`)
  said.push(`readMedium ${await calls.readMedium(0, new Uint8Array(BLOCK))}`)
  said.push(`tryRead ${under.disk.tryRead(0, new Uint8Array(BLOCK))}`)
  return said
}
