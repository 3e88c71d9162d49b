/** Risk: an attachment is answered, and for ever without the socket by which its device is made. */
import { Server } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { AttachmentSockets } from '../../dataplane/attachment-sockets.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const VOLUME = 'a'.repeat(32)

t.test('what is in the way is told, and tried again; only a path that is too long is done without', async (t) => {
  const folder = path.join(temporaryFolder(t), 'attached')
  let failure: Error | undefined
  const made: string[] = []
  const told: string[] = []
  const sockets = new AttachmentSockets({
    folder,
    listener: {
      listenUnix: async (file) => {
        if (failure !== undefined) throw failure
        made.push(path.basename(file))
        return new Server()
      },
      stopListening: () => undefined,
    },
    exportsOf: () => ({}) as never,
    log: { event: (_, message) => void told.push(message) },
  })
  const busy = new HoldfastError('socket-busy', { path: 'there' })
  const noRoom = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
  for (const [one, code] of [[busy, 'socket-busy'], [noRoom, 'listen']] as const) {
    failure = one
    await t.rejects(sockets.offer(VOLUME, 3), { code })
  }
  failure = undefined
  await sockets.offer(VOLUME, 3)
  t.same(made, [`${VOLUME}.3`], 'asked again it makes it')
  t.same(told, [])
  failure = new HoldfastError('socket-path', { path: 'long', length: 200 })
  await sockets.offer(VOLUME, 4)
  t.equal(told.length, 1)
  failure = new TypeError('ours')
  await t.rejects(sockets.offer(VOLUME, 5), TypeError)
})
