/** Inside a guest: a node of a cluster, from the configuration in a file. Says on standard output when it serves. */
import { readFileSync } from 'node:fs'
import { fork } from 'node:child_process'
import type { NodeConfig } from '../../dataplane/node-config.ts'

const [main, file] = process.argv.slice(2) as [string, string]
const node = fork(main, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
node.on('message', ({ kind, pid }: { kind: string; pid: number }) => {
  if (kind === 'ready') process.stdout.write(`ready ${pid}\n`)
})
node.on('close', (code, signal) => process.exit(signal === null ? code! : 1))
process.on('SIGTERM', () => node.kill('SIGTERM'))
node.send(JSON.parse(readFileSync(file, 'utf8')) as NodeConfig)
