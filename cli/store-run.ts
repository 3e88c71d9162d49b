/**
 * `holdfast store`: this process becomes the embedded cluster store, in the foreground. One line says when it serves;
 * a signal ends it in under two seconds. A disk that fails ends it too, with nothing answered that is not there.
 */
import path from 'node:path'
import { collectStart } from '../cluster/start-garbage.ts'
import { openEmbeddedStore } from '../cluster/store/embedded/embedded-store.ts'
import { checkStoreFolder } from '../cluster/store/embedded/store-folder.ts'
import { parseListenAddress, serveStore } from '../cluster/store/embedded/store-server.ts'
import { isLoopback } from '../cluster/tls/loopback.ts'
import { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { clock } from '../dataplane/clock.ts'
import { lockFolder, makeFolder } from '../dataplane/node-folder.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { RefusalLog } from '../dataplane/peer/refusal-log.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

const LISTEN_DEFAULT = '127.0.0.1:2379'
/** Calls that are under way when a signal comes. */
const GRACE_MS = 500
const REFUSALS_EVERY_MS = 10_000

export async function runStore({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: false })
  const named = given.text('dir')
  if (named === undefined) throw usageError('--dir is missing', '`holdfast help store` shows how')
  const listen = parseListenAddress(given.text('listen') ?? LISTEN_DEFAULT)
  const tlsDir = given.text('tls')
  if (tlsDir === undefined && !isLoopback(listen.host)) throw new HoldfastError('plain-text', { where: '--listen' })
  const folder = tlsDir === undefined ? undefined : new TlsFolder(tlsDir)
  // One that names nobody of a cluster could let nobody in.
  void folder?.identity
  const dir = path.resolve(named)
  makeFolder(dir)
  checkStoreFolder(dir)
  lockFolder(dir, path.join(dir, 'lock'))
  const asked = stopSignal()
  const store = await openEmbeddedStore(dir)
  const failed = new Promise<unknown>((resolve) => {
    store.onFailed = ({ cause, message }) => resolve(new HoldfastError('store-disk', {
      dir, reason: cause instanceof Error ? cause.message : message,
    }))
    process.on('uncaughtException', resolve)
  })
  let failure: unknown
  const onBug = (error: unknown) => void process.emit('uncaughtException', error as Error)
  const log = { event: (_: string, message: string) => output.note(message) }
  const refusals = new RefusalLog({ log, clock, everyMs: REFUSALS_EVERY_MS })
  const onRefused = (address: string, reason: string): void =>
    refusals.refused(`connection from ${address} refused: ${reason}`, `${address.replace(/:\d+$/, '')} ${reason}`, {})
  if (folder !== undefined) folder.onProblem = ({ message }) => output.note(message)
  const server = await serveStore({ store, listen, tls: folder && { folder, onRefused }, onBug })
  collectStart()
  output.result({ ready: true, url: server.url, dir }, () => [`holdfast store ready ${server.url}`])
  process.send?.({ ready: true, url: server.url })
  await Promise.race([asked, failed.then((error) => (failure = error))])
  if (failure !== undefined) {
    // Nothing more is answered: what waits is not durable.
    output.error(failure)
    process.exit(EXIT_FAILED)
  }
  await server.close(GRACE_MS)
  await store.close()
  process.exit(EXIT_OK)
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve())
    // `holdfast dev` is gone, and nobody else would end it.
    if (process.channel !== undefined) process.on('disconnect', () => resolve())
  })
}
