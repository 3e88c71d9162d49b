/**
 * The embedded store for guests of this test: in plain text on the address of the host in their network, which
 * `holdfast store` refuses. Arguments: folder, host, port. What is written to stdout is what `holdfast store` says.
 */
import { openEmbeddedStore } from '../../cluster/store/embedded/embedded-store.ts'
import { checkStoreFolder } from '../../cluster/store/embedded/store-folder.ts'
import { serveStore } from '../../cluster/store/embedded/store-server.ts'
import { makeFolder } from '../../dataplane/node-folder.ts'

const [dir, host, port] = process.argv.slice(2) as [string, string, string]
makeFolder(dir)
checkStoreFolder(dir)
const store = await openEmbeddedStore(dir)
const onBug = (error: unknown): void => {
  throw error
}
const server = await serveStore({ store, listen: { host, port: Number(port) }, onBug })
process.stdout.write(`holdfast store ready ${server.url}\n`)
