/** `holdfast node`: this process becomes the supervisor. Imports nothing that would stay in its memory. */
import { nodeConfigOf } from '../dataplane/node-config.ts'
import { runSupervisor } from '../dataplane/supervisor.ts'
import type { Invocation } from './command.ts'
import { leaveCompiler } from './memory-flags.ts'

export async function runNode({ arguments: given }: Invocation): Promise<number> {
  const isKubernetes = given.text('kube-node') !== undefined
  const kubernetes = isKubernetes ? await (await import('./kube-node.ts')).asKubernetesSays(given) : {}
  const config = nodeConfigOf({
    name: given.text('name'),
    dir: given.text('dir'),
    zone: given.text('zone'),
    'new-zone': given.flag('new-zone'),
    ...kubernetes,
    disk: given.texts('disk'),
    'listen-tcp': given.text('listen-tcp'),
    'listen-metrics': given.text('listen-metrics'),
    workers: given.text('workers'),
    'scrub-light': given.text('scrub-light'),
    'scrub-deep': given.text('scrub-deep'),
    'scrub-rate': given.text('scrub-rate'),
    store: given.text('store'),
    'listen-peer': given.text('listen-peer'),
    'listen-api': given.text('listen-api'),
    tls: given.text('tls'),
    'no-tls': given.flag('no-tls'),
    'cluster-key': given.text('cluster-key'),
    config: given.text('config'),
  })
  leaveCompiler()
  const code = await runSupervisor(config)
  // The parent's channel, if there is one, would keep the process alive.
  process.exit(code)
}
