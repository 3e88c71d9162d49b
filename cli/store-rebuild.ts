/**
 * `holdfast store rebuild --from-nodes`: the records of a cluster whose store is lost, made anew in an empty one from
 * what the nodes that wait at it have on their disks (cluster/store/REBUILD.md).
 */
import { createHash, randomUUID } from 'node:crypto'
import { formatSize } from '../cluster/api/amounts.ts'
import { connectClusterStore } from '../cluster/store/connect-store.ts'
import { StoreTls } from '../cluster/tls/store-tls.ts'
import { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { askNodes, lookAtStore, writeRebuilt } from '../cluster/store/rebuild-run.ts'
import type { NodeDescription } from '../engine/control/node-description.ts'
import { planRebuild } from '../engine/control/store-rebuild.ts'
import type { RebuildPlan } from '../engine/control/store-rebuild.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { Arguments } from './arguments.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { namedEndpoint, storeWaitedFor } from './endpoint.ts'
import { EXIT_OK, table } from './output.ts'

/** For nodes that are named in the store and do not answer, or are just starting. */
const ANSWER_MS = 5000

export async function rebuildStore({ arguments: given, output }: Invocation): Promise<number> {
  if (!given.flag('from-nodes')) {
    throw usageError('--from-nodes is missing', 'it is what there is to rebuild a store from: add it')
  }
  const confirm = given.text('confirm')
  if (confirm !== undefined && !given.flag('force')) throw usageError('--confirm goes with --force', 'add --force')
  const address = given.text('store') ?? waitedFor(given)
  const dir = given.text('tls')
  const tls = dir === undefined ? undefined : new StoreTls(new TlsFolder(dir))
  const store = connectClusterStore({ addresses: address, tls })
  try {
    const target = { store, address }
    const found = await lookAtStore(target)
    const nodes = await askNodes(target, found, randomUUID(), ANSWER_MS)
    if (nodes.length === 0) {
      const problems = `no node waits at the cluster store at ${address}`
      const instead = 'start the nodes again (their daemons, too, if they run), with this store as their `--store`'
      throw new HoldfastError('rebuild-refused', { problems, instead })
    }
    const token = tokenOf(nodes)
    const plan = planRebuild(nodes, `rebuilt ${token}`, found.rebuilt)
    if (given.flag('dry-run')) {
      output.result(asJson(plan, token, false), () => [...page(plan), '', ...problemsOf(plan), 'nothing was written'])
      return EXIT_OK
    }
    check(plan, { address, token, force: given.flag('force'), confirm })
    await writeRebuilt(target, found, plan)
    output.result(asJson(plan, token, true), () => [
      ...page(plan), '',
      `the cluster store at ${address} is rebuilt; ${namesOf(nodes)} go on by themselves`,
      'cordons, drains, disk evictions and moves are not kept on disks: wish them again',
    ])
    return EXIT_OK
  } finally {
    store.close()
  }
}

/** R1 to R4. @throws HoldfastError unless it is safe, or what it costs was confirmed */
function check(
  { problems }: RebuildPlan,
  { address, token, force, confirm }: { address: string; token: string; force: boolean; confirm: string | undefined },
): void {
  if (problems.length === 0) return
  if (!force) {
    const instead = 'start what is missing, with this store, and try again; what is gone for good: add --force, ' +
      'which asks for a confirmation (`--dry-run` shows all of it)'
    throw new HoldfastError('rebuild-refused', { problems: problems.join('; '), instead })
  }
  if (confirm === token) return
  const costs = [
    ...problems,
    'what only those who are missing have is lost, and who of them only is cut off may still serve: stop it first',
  ]
  throw new HoldfastError('rebuild-unconfirmed', { costs: costs.join('; '), endpoint: address, token })
}

/** Of everything that was described: what was confirmed is what happens. */
function tokenOf(nodes: readonly NodeDescription[]): string {
  const hash = createHash('sha256')
  for (const { name, digest, met, disks } of [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    hash.update(JSON.stringify([name, digest, met, disks]))
  }
  return hash.digest('hex').slice(0, 10)
}

/** The store at which a node of the folder waits that other commands would talk to. */
function waitedFor(given: Arguments): string {
  const store = storeWaitedFor(namedEndpoint(given.text('endpoint'), process.env).place)
  if (store !== undefined) return store
  throw usageError('--store is missing', 'name the empty store at which the nodes wait: --store http://HOST:PORT')
}

const namesOf = (nodes: readonly NodeDescription[]): string => nodes.map(({ name }) => name).sort().join(', ')

function page({ volumes, leftOut, nodes }: RebuildPlan): string[] {
  const rows = volumes.map(({ record, config, formerEpoch, remarks }) => {
    const { members, inSync, primary, epoch } = config
    const states = Object.entries(members).map(([node, { state }]) =>
      node === primary ? `${node} primary` : inSync.includes(node) ? node : `${node} ${state}`)
    return [record.spec.name, formatSize(record.spec.sizeBytes), states.join(', '), `${formerEpoch} -> ${epoch}`,
      remarks.join('; ')]
  })
  return [
    `${nodes.length} node(s) answered: ${namesOf(nodes)}`,
    ...(rows.length === 0 ? ['no volume is made'] : table(['VOLUME', 'SIZE', 'COPIES', 'EPOCH', 'REMARKS'], rows)),
    ...leftOut.map(({ name, volumeId, why }) => `left out: volume ${name} (${volumeId}): ${why}`),
  ]
}

const problemsOf = ({ problems }: RebuildPlan): string[] =>
  problems.length === 0 ? ['it is safe'] : ['it would be refused:', ...problems.map((one) => `  ${one}`)]

const asJson = ({ nodes, volumes, leftOut, problems }: RebuildPlan, token: string, isWritten: boolean) => ({
  isWritten,
  token,
  nodes: nodes.map(({ name }) => name),
  volumes: volumes.map(({ volumeId, record, config, formerEpoch, remarks }) => ({
    id: volumeId,
    name: record.spec.name,
    sizeBytes: record.spec.sizeBytes,
    inTrash: record.trash !== null,
    primary: config.primary,
    inSync: config.inSync,
    members: config.members,
    formerEpoch,
    epoch: config.epoch,
    remarks,
  })),
  leftOut,
  problems,
})
