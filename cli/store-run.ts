/**
 * `holdfast store`: this process becomes the embedded cluster store, in the foreground. One line says when it serves;
 * a signal ends it in under two seconds. A disk that fails ends it too, with nothing answered that is not there.
 */
import path from 'node:path'
import { openEmbeddedStore } from '../cluster/store/embedded/embedded-store.ts'
import { checkStoreFolder } from '../cluster/store/embedded/store-folder.ts'
import { parseListenAddress, serveStore } from '../cluster/store/embedded/store-server.ts'
import { lockFolder, makeFolder } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './commands.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

const LISTEN_DEFAULT = '127.0.0.1:2379'
/** Calls that are under way when a signal comes. */
const GRACE_MS = 500

export async function runStore({ arguments: given, output }: Invocation): Promise<number> {
  const folder = given.text('dir')
  if (folder === undefined) throw usageError('--dir is missing', '`holdfast help store` shows how')
  const listen = parseListenAddress(given.text('listen') ?? LISTEN_DEFAULT)
  const dir = path.resolve(folder)
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
  const server = await serveStore({ store, listen, onBug })
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
