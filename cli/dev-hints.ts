/** What `holdfast dev` says when it is ready: where the volumes are, and what to try, as one would type it. */
import path from 'node:path'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { DEV_DIR_DEFAULT } from './dev-control.ts'
import type { DevNode } from './dev-node.ts'
import { ADMIN } from './dev-tls.ts'

const fio = (uri: string): string[] => [
  `  fio --name=try --ioengine=nbd '--uri=${uri}' --rw=randwrite --bs=4k --iodepth=32 --size=256m \\`,
  '      --verify=crc32c --verify_state_save=0',
]

/** @param limits  what so few nodes cannot promise */
export function tryNext(volumes: Volume[], dir: string, nodes: readonly DevNode[], limits: string[]): string[] {
  const isDefault = dir === path.resolve(DEV_DIR_DEFAULT)
  const here = isDefault ? '' : ` --endpoint ${dir}`
  const there = isDefault ? '' : ` --dir ${dir}`
  const volume = volumes[0]
  return [
    ...volumes.flatMap(({ name, nbd }) => nbd.map((place) => `  ${name.padEnd(10)} ${place}`)),
    ...metricsOf(nodes),
    ...apisOf(nodes, dir),
    ...limits.map((limit) => `  ${limit}`),
    '',
    'Try next, in another terminal:',
    ...(volume === undefined ? [] : nodes.length === 1 ? clientsOf(volume) : failoverOf(volume, here, there)),
    `  ./holdfast volume create data-1 --size 500Mi${here}`,
    `  ./holdfast status${here}`,
    '',
    'Ctrl-C stops it; the same folder resumes.',
  ]
}

const metricsOf = (nodes: readonly DevNode[]): string[] => nodes.flatMap(({ name, ready }) =>
  ready?.metrics === undefined ? [] : [`  metrics    http://127.0.0.1:${ready.metrics.port}/metrics  (${name})`])

/** Over TLS, as it is asked from elsewhere. */
function apisOf(nodes: readonly DevNode[], dir: string): string[] {
  const certificate = path.join(dir, 'tls', ADMIN)
  return nodes.flatMap(({ name, tls }) =>
    tls === undefined ? [] : [`  control    --endpoint 127.0.0.1:${tls.apiPort} --tls ${certificate}  (${name})`])
}

function clientsOf({ nbd }: Volume): string[] {
  const uri = nbd[0]!
  return [
    `  nbdinfo '${uri}'`,
    ...fio(uri),
    `  qemu-img convert -n -O raw IMAGE '${uri}'`,
    `  nbdcopy '${uri}' copy.img`,
  ]
}

/** Through a node that does not lead, while the one that does is killed. */
function failoverOf({ name, copies, nbd }: Volume, here: string, there: string): string[] {
  const primary = copies.find(({ role }) => role === 'primary')?.node ?? 'n1'
  const uri = nbd.find((place) => place.startsWith('nbd+unix') && !place.includes(`/${primary}/nbd.sock`)) ?? nbd[0]!
  return [
    `  ./holdfast demo failover${there}      # all by itself, with a client that checks every answer`,
    `  nbdinfo '${uri}'`,
    ...fio(uri),
    `  ./holdfast dev kill ${primary}${there}      # meanwhile, as a dead host: the primary of ${name}`,
    `  ./holdfast volume inspect ${name}${here}`,
    `  ./holdfast dev start ${primary}${there}`,
  ]
}
