/**
 * Inside a guest: the supervisor of a node, with the text of a tree and the configuration in a file. Both are one
 * process with it, since memory is scarce there.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type * as supervisor from '../../dataplane/supervisor.ts'
import type { NodeConfig } from '../../dataplane/node-config.ts'

const [tree, file] = process.argv.slice(2) as [string, string]
const { runSupervisor } = (await import(path.join(tree, 'dataplane/supervisor.ts'))) as typeof supervisor
process.exit(await runSupervisor(JSON.parse(readFileSync(file, 'utf8')) as NodeConfig))
