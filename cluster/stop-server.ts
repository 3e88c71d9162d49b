/** How a gRPC server ends, of the control API and of the embedded store. */
import type { Server } from '@grpc/grpc-js'

/** Running calls have `graceMs` to end, and are ended then. */
export const stopServer = (server: Server, graceMs: number): Promise<void> => new Promise((resolve) => {
  const deadline = setTimeout(() => {
    server.forceShutdown()
    resolve()
  }, graceMs)
  server.tryShutdown(() => {
    clearTimeout(deadline)
    resolve()
  })
})
