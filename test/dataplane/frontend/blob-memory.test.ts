/** Risk: a payload is overwritten while somebody needs it, or its memory never comes back. */
import t from 'tap'
import { BlobMemory, letGo } from '../../../dataplane/frontend/blob-memory.ts'
import { SLAB_BYTES, slabOf, SlabPool } from '../../../dataplane/slab-pool.ts'
import type { Payload } from '../../../engine/replication/record.ts'
import { Random } from '../../sim/random.ts'

function lay(memory: BlobMemory, bytes: number, value: number): Payload {
  const slab = memory.room(bytes)
  slab.bytes.fill(value, memory.at, memory.at + bytes)
  const data = { bytes: memory.keep(bytes), crcs: [value], stored: { transform: 2, units: [bytes / 64] } }
  return { bytes, data }
}

const bytesOf = ({ data }: Payload): Uint8Array => (data as { bytes: Uint8Array }).bytes

t.test('payloads keep their bytes until they are let go, in whatever order', async (t) => {
  const random = new Random(7)
  const memory = new BlobMemory(new SlabPool())
  const slabs = new Set<unknown>()
  let payloads: Payload[] = []
  let isWhole = true
  for (let i = 0; i < 4000; i++) {
    const payload = lay(memory, 64 * (1 + random.int(SLAB_BYTES / 320)), i & 255)
    slabs.add(slabOf(bytesOf(payload)))
    payloads.push(payload)
    for (let n = random.int(3); n > 0 && payloads.length > 0; n--) {
      const [gone] = payloads.splice(random.int(payloads.length), 1)
      const [value] = (gone!.data as { crcs: number[] }).crcs
      isWhole &&= bytesOf(gone!).every((byte) => byte === value)
      letGo(gone!)
    }
    if (payloads.length > 30) {
      for (const one of payloads) letGo(one)
      payloads = []
    }
  }
  t.ok(isWhole)
  t.ok(slabs.size < 60, `${slabs.size} slabs for 4,000 payloads`)
})

t.test('room that nobody kept is given again', async (t) => {
  const memory = new BlobMemory(new SlabPool())
  const slab = memory.room(4096)
  t.equal(memory.room(4096), slab)
  t.equal(memory.at, 0)
  const payload = lay(memory, 4096, 1)
  t.equal(memory.at, 4096)
  letGo(payload)
  memory.room(4096)
  t.equal(memory.at, 0, 'nobody needs what lay here')
  t.ok(memory.room(2 ** 20 + 2 ** 14).bytes.length > 2 ** 20, 'a large payload has a slab of its own')
})

t.test('what lies in memory of its client is not ours to let go', async (t) => {
  const slab = new SlabPool().acquire(4096)
  letGo({ bytes: 4096, data: { bytes: slab.bytes.subarray(0, 4096), crcs: [0] } })
  t.equal(slab.users, 1)
})
