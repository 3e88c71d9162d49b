/** Risk: between `listen` and the mode of a unix socket somebody else connects, who is served as its owner is. */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { serveGrpc } from '../../cluster/api/grpc-server.ts'
import { clock } from '../../dataplane/clock.ts'
import { NbdListener } from '../../dataplane/nbd/listener.ts'
import { PeerListener } from '../../dataplane/peer/listener.ts'
import { RefusalLog } from '../../dataplane/peer/refusal-log.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const never = (): never => {
  throw new Error('nobody comes')
}

/** @returns what ends it */
const LISTEN: Record<string, (file: string) => Promise<() => Promise<void>>> = {
  nbd: async (file) => {
    const listener = new NbdListener({ exports: { list: () => [], find: never }, onSession: never })
    await listener.listenUnix(file)
    return () => listener.close()
  },
  peer: async (file) => {
    const log = new RefusalLog({ log: { event: never }, clock, everyMs: 1000 })
    const listener = new PeerListener({ clock, log, onArrival: never })
    await listener.listenUnix(file)
    return () => listener.close()
  },
  api: async (file) => {
    const server = await serveGrpc({ socketPath: file }, [], never)
    return () => server.close(100)
  },
}

for (const [name, listen] of Object.entries(LISTEN)) {
  t.test(`${name}: the socket is its owner's from its first moment on, whatever the umask`, async (t) => {
    const file = path.join(temporaryFolder(t), 's')
    const open: number[] = []
    const { chmodSync } = fs
    const umask = process.umask(0)
    fs.chmodSync = (at, mode) => {
      open.push(fs.statSync(at).mode & 0o077)
      chmodSync(at, mode)
    }
    t.teardown(() => {
      process.umask(umask)
      fs.chmodSync = chmodSync
    })
    const close = await listen(file)
    t.same(open, [0])
    t.equal(fs.statSync(file).mode & 0o777, 0o600)
    t.equal(process.umask(), 0)
    await close()
    t.notOk(fs.existsSync(file))
  })
}
