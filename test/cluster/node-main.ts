/** A node of a cluster as a process of its own: its supervisor, told what to be by the message of its parent. */
import type { NodeConfig } from '../../dataplane/node-config.ts'
import { runSupervisor } from '../../dataplane/supervisor.ts'
import { HoldfastError } from '../../engine/errors.ts'

process.once('message', (config: NodeConfig) => {
  runSupervisor(config).then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`holdfast: ${error instanceof HoldfastError ? error.message : String(error)}\n`)
      process.exit(1)
    },
  )
})
