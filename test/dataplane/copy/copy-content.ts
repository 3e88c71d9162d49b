/** What copies hold, block by block, asked of their stores, so that they can be held against each other. */
import type { HostedCopy } from '../../../dataplane/copy/hosted-copy.ts'
import type { StoreEvent } from '../../../engine/replication/copy-store.ts'
import type { BlockVersion } from '../../../engine/replication/record.ts'
import { blobsOf } from '../../../engine/volume/copy-headers.ts'
import { crc32c } from '../../../dataplane/checksum.ts'

/** Beyond those of the machine. */
const TOKEN = 2 ** 40

export function readAll(copy: HostedCopy, blockCount: number): Promise<BlockVersion[]> {
  const store = copy.store!
  const { onEvent } = store
  return new Promise((resolve, reject) => {
    store.onEvent = (event: StoreEvent) => {
      if (event.type !== 'read-ended' || event.token !== TOKEN) return onEvent(event)
      store.onEvent = onEvent
      if (event.ok) resolve(event.versions)
      else reject(new Error('a copy cannot be read'))
    }
    store.read(TOKEN, 0, blockCount)
  })
}

/** One line a block that was ever written: where, which version, what bytes. */
export async function contentOf(copy: HostedCopy, blockCount: number): Promise<string[]> {
  const versions = await readAll(copy, blockCount)
  return versions
    .filter(({ seq }) => seq > 0)
    .map(({ lba, epoch, seq, kind, payload }) => {
      const crc = payload === undefined ? 0 : crc32c(blobsOf(payload).bytes)
      return `${lba} ${epoch}.${seq} ${kind} ${crc}`
    })
}
